/** A page of many videos: each is found like any other, and those that nobody watches make room. */
import { createHash, randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Player, Site, until, whole } from "./site";
import type { Engine } from "../../src/engine";

vi.setConfig({ testTimeout: 20_000 });

const BYTES = 20_000;
const VIDEOS = 30;
const SWARMS = 24;

let site: Site;
let files: Buffer[];
/** Numbers of the videos whose manifests were asked for. */
let questions: number[];
let skipped: number;

beforeEach(async () => {
  site = await new Site().start();
  files = Array.from({ length: VIDEOS }, () => randomBytes(BYTES));
  [questions, skipped] = [[], 0];
});
afterEach(() => site.stop());

const numberIn = (path: string): number => parseInt(path.slice(6), 10);
const address = (n: number): string => site.url.replace("media/a.mp4", `feed/${String(n)}.mp4`);
const now = (): number => performance.now() / 1000 + skipped;

/** The site's own fetch, except for its feed; of streams each video is a segment. */
function ask(streams: boolean): typeof fetch {
  return (input, init) => {
    const url = new URL(input as string);
    if (url.pathname === "/p2pcdn/manifest") {
      const path = url.searchParams.get("url") ?? "";
      const n = numberIn(path);
      questions.push(n);
      const hash = createHash("sha256").update(files[n] ?? "");
      const digest = hash.digest();
      const about = { token: "t", expires: Date.now() / 1000 + 3600 };
      const group = { key: String(n).padStart(32, "0"), ...about };
      const manifest = {
        ...{ url: path, key: digest.toString("hex").slice(0, 32), size: BYTES, type: "video/mp4" },
        ...{ segment_bytes: 65536, hashes: digest.toString("base64"), ...about },
      };
      return Promise.resolve(Response.json(streams ? { ...manifest, group } : manifest));
    }
    if (!url.pathname.startsWith("/feed/")) return fetch(input, init);
    const range = new Headers(init?.headers).get("range") ?? "";
    const [from = 0, to = 0] = /(\d+)-(\d+)/.exec(range)?.slice(1).map(Number) ?? [];
    const headers = { "Content-Range": `bytes ${String(from)}-${String(to)}/${String(BYTES)}` };
    const body = new Uint8Array(files[numberIn(url.pathname)]?.subarray(from, to + 1) ?? []);
    return Promise.resolve(new Response(body, { status: 206, headers }));
  };
}

async function watch(engine: Engine, numbers: Iterable<number>): Promise<void> {
  for (const n of numbers)
    expect((await whole(engine, address(n))).equals(files[n] ?? Buffer.alloc(0))).toBe(true);
}

const open = (engine: Engine): number[] =>
  engine.stats().contents.map(({ url }) => numberIn(new URL(url).pathname));

test.each([
  ["videos", false],
  ["streams", true],
])("of many %s those are closed that nobody has watched for longest", async (_, streams) => {
  const viewer = site.visitor({ fetch: ask(streams) });
  await watch(viewer, [0]);
  const detach = (await viewer.content(address(0)))?.attach(new Player(60));
  await watch(viewer, [1, 2, ...files.keys()].slice(0, SWARMS));
  expect(viewer.known(address(1))).not.toBeNull();
  await watch(viewer, [...files.keys()].slice(SWARMS));
  expect(open(viewer)).toHaveLength(SWARMS);
  expect(open(viewer)).toContain(0);
  expect(open(viewer)).not.toContain(2);
  await until(() => site.coordinator.joined(viewer.stats().id) === SWARMS);

  detach?.();
  expect(viewer.known(address(2))).toBeNull();
  await watch(viewer, [2]);
  expect(questions.filter((n) => n === 2)).toHaveLength(2);
  expect(open(viewer)).toHaveLength(SWARMS);
});

test("a peer hears of what is closed, and asks for it no more", async () => {
  const [first, second] = [
    site.visitor({ fetch: ask(false) }),
    site.visitor({ fetch: ask(false) }),
  ];
  await watch(first, [0, 1]);
  await watch(second, [0, 1]);
  const peers = (n: number): unknown =>
    second.stats().contents.find(({ url }) => url === address(n))?.peers;
  await until(() => peers(0) === 1 && peers(1) === 1);
  await watch(first, [...files.keys()].slice(2, SWARMS));
  await watch(first, [1, SWARMS]);
  await until(() => peers(0) === 0);
  expect(peers(1)).toBe(1);
});

test.each([
  ["limit", [0]],
  ["expired", [0, 0]],
])("a refusal for the reason %s", async (reason, asked) => {
  site.coordinator.refuses = reason;
  const viewer = site.visitor({ fetch: ask(false), now });
  await watch(viewer, [0]);
  await until(() => site.coordinator.refused > 1); // what is held is announced, too
  site.coordinator.refuses = undefined;
  const posts = site.coordinator.posts;
  await until(() => site.coordinator.posts > posts + 1);
  skipped += 6;
  await new Promise((done) => setTimeout(done, 500));
  expect(questions).toEqual(asked);
});
