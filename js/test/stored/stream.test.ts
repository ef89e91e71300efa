/** A stream that was watched: stored by segment, passed on as one, and only to who watches it. */
import { createHash, randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Engine } from "../../src/engine";
import type { Env } from "../../src/swarm/content";
import { Site, until, whole } from "../swarm/site";
import { Browser } from "./browser";

vi.setConfig({ testTimeout: 30_000 });
const BYTES = 80_000;
const PLAYLISTS = ["/hls/index.m3u8"];
const GROUP = "9".repeat(32);

let site: Site;
let browser: Browser;
let files: Buffer[];
let questions: URL[];
let sent: number[];

beforeEach(async () => {
  site = await new Site().start();
  browser = new Browser(site);
  files = Array.from({ length: 12 }, () => randomBytes(BYTES));
  [questions, sent] = [[], []];
});
afterEach(() => site.stop());

function manifest(n: number): object {
  const parts = [files[n]?.subarray(0, 65536), files[n]?.subarray(65536)];
  const hashes = parts.map((part) =>
    createHash("sha256")
      .update(part ?? "")
      .digest(),
  );
  const list = Buffer.concat(hashes);
  return {
    key: createHash("md5").update(list).digest("hex"),
    url: `/hls/${String(n)}.ts`,
    size: BYTES,
    type: "video/mp2t",
    segment_bytes: 65536,
    hashes: list.toString("base64"),
  };
}

/** The site's own fetch, except for its presentation. */
const ask: typeof fetch = (input, init) => {
  const url = new URL(input as string);
  if (url.pathname === "/p2pcdn/manifest" && url.searchParams.get("url")?.startsWith("/hls/")) {
    questions.push(url);
    const named = url.searchParams.getAll("playlist").join() === PLAYLISTS.join();
    if (!named) return Promise.resolve(Response.json({ error: "unknown" }, { status: 404 }));
    const n = parseInt(url.searchParams.get("url")?.slice(5) ?? "", 10);
    const [token, expires] = ["t", Date.now() / 1000 + 3600];
    const next = files.map((_, i) => i).slice(n + 1, n + 9);
    const group = { key: GROUP, token: "group", expires };
    return Promise.resolve(
      Response.json({ ...manifest(n), token, expires, group, next: next.map(manifest) }),
    );
  }
  if (!url.pathname.startsWith("/hls/")) return fetch(input, init);
  const n = parseInt(url.pathname.slice(5), 10);
  sent.push(n);
  const range = new Headers(init?.headers).get("range") ?? "";
  const [from = 0, to = 0] = /(\d+)-(\d+)/.exec(range)?.slice(1).map(Number) ?? [];
  const headers = { "Content-Range": `bytes ${String(from)}-${String(to)}/${String(BYTES)}` };
  const body = new Uint8Array(files[n]?.subarray(from, to + 1) ?? []);
  return Promise.resolve(new Response(body, { status: 206, headers }));
};

const segment = (n: number): string => new URL(`/hls/${String(n)}.ts`, site.url).href;

async function watch(engine: Engine): Promise<void> {
  for (const [n, file] of files.entries()) {
    await engine.content(segment(n), PLAYLISTS);
    expect(file.equals(await whole(engine, segment(n)))).toBe(true);
  }
}

async function watched(): Promise<void> {
  const engine = browser.tab({ fetch: ask });
  await watch(engine);
  await until(() => browser.files.used === files.length * BYTES);
  await until(() => browser.storage.has("p2pcdn-stored"));
  engine.close();
  [questions, sent] = [[], []];
}

/** A later page, on which the stream is only passed on. */
async function later(): Promise<Engine> {
  browser.pace = 20;
  const engine = browser.tab({ fetch: ask });
  await until(() => engine.stats().contents.length === files.length);
  return engine;
}

test("a stream plays again from the disk", async () => {
  await watched();
  const engine = browser.tab({ fetch: ask });
  await watch(engine);
  expect(sent).toEqual([]);
  const cached = engine.stats().contents.reduce((sum, { fromCache }) => sum + fromCache, 0);
  expect(cached).toBe(files.length * BYTES);
});

test("a stream of an earlier page is passed on, for a question or two to the site", async () => {
  await watched();
  const next = await later();
  expect(questions.length).toBeLessThanOrEqual(2);
  const other = site.visitor({ fetch: ask });
  await other.content(segment(0), PLAYLISTS);
  await until(() => other.stats().peers.some(({ state }) => state === "open"));
  await watch(other);
  const fromPeers = other.stats().contents.reduce((sum, c) => sum + c.fromPeers, 0);
  expect(fromPeers).toBeGreaterThan(0.6 * files.length * BYTES);
  expect(next.stats().contents.every(({ fromOrigin }) => fromOrigin === 0)).toBe(true);
});

test("who watches something else does not learn of it", async () => {
  await watched();
  const next = await later();
  await whole(next, site.url);
  const other = site.visitor({ fetch: ask });
  await whole(other, site.url);
  await until(() => other.stats().peers.some(({ state }) => state === "open"));
  const film = other.known(site.url) as unknown as { key: string; env: Env };
  const heard = (): string[] =>
    [...film.env.links()].flatMap((link) => [...link.remotes.values()].map(({ key }) => key));
  await until(() => heard().includes(film.key));
  await new Promise((done) => setTimeout(done, 200));
  expect(heard()).toEqual([film.key]);
  // Who then watches it here lets others know, as ever.
  await watch(next);
  await until(() => heard().includes(GROUP));
});
