/** Viewers of one playlist: found once, asked for in one go, kept within bounds. */
import { createHash, randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Player, Site, until, whole } from "./site";
import type { Engine } from "../../src/engine";

const BYTES = 20_000;
const FOLLOWING = 8;
const PLAYLISTS = ["/hls/index.m3u8"];
const GROUP = "9".repeat(32);

let site: Site;
let files: Buffer[];
/** What visitors asked of the site: manifests, and segments by number. */
let questions: URL[];
let sent: number[];
let live: boolean;

beforeEach(async () => {
  site = await new Site().start();
  files = Array.from({ length: 20 }, () => randomBytes(BYTES));
  [questions, sent, live] = [[], [], false];
});
afterEach(async () => {
  vi.useRealTimers();
  await site.stop();
});

function manifest(n: number): object {
  const digest = createHash("sha256")
    .update(files[n] ?? "")
    .digest();
  return {
    key: digest.toString("hex").slice(0, 32),
    url: `/hls/${String(n)}.ts`,
    size: BYTES,
    type: "video/mp2t",
    segment_bytes: 65536,
    hashes: digest.toString("base64"),
  };
}

/** The site's own fetch, except for its presentation. */
const ask: typeof fetch = (input, init) => {
  const url = new URL(input as string);
  const json = (body: unknown): Promise<Response> => Promise.resolve(Response.json(body));
  if (url.pathname === "/p2pcdn/manifest") {
    questions.push(url);
    const n = parseInt(url.searchParams.get("url")?.slice(5) ?? "", 10);
    const [token, expires] = ["t", Date.now() / 1000 + 3600];
    const next = files.map((_, i) => i).slice(n + 1, n + 1 + FOLLOWING);
    const group = { key: GROUP, token: "group", expires, live };
    return json({ ...manifest(n), token, expires, group, next: next.map(manifest) });
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

const address = (n: number): string => site.url.replace("media/a.mp4", `hls/${String(n)}.ts`);

async function watch(engine: Engine, numbers: Iterable<number>): Promise<void> {
  for (const n of numbers) {
    await engine.content(address(n), PLAYLISTS);
    expect((await whole(engine, address(n))).equals(files[n] ?? Buffer.alloc(0))).toBe(true);
  }
}

test("a second viewer asks for nine segments at a time, and gets them from the first", async () => {
  const first = site.visitor({ fetch: ask });
  await watch(first, files.keys());
  expect(new Set(sent).size).toBe(files.length);
  expect(questions).toHaveLength(Math.ceil(files.length / (1 + FOLLOWING)));
  expect(questions[0]?.searchParams.getAll("playlist")).toEqual(PLAYLISTS);

  sent = [];
  const second = site.visitor({ fetch: ask });
  await watch(second, [0]);
  await until(() => second.stats().peers.some(({ state }) => state === "open"));
  await watch(second, files.keys());
  expect(sent.filter((n) => n > 0)).toEqual([]);
  expect(
    second
      .stats()
      .contents.map(({ fromPeers }) => fromPeers)
      .slice(1),
  ).toEqual(files.slice(1).map(() => BYTES));
});

test("the coordinator hears of the group, and of no single segment", async () => {
  const heard: { type: string; payload: { content: string; token: string } }[] = [];
  const first = site.visitor({
    fetch: (input, init) => {
      const { messages } = JSON.parse((init?.body as string | undefined) ?? "{}") as {
        messages?: typeof heard;
      };
      heard.push(...(messages ?? []));
      return ask(input, init);
    },
  });
  await watch(first, files.keys());
  await until(() => heard.some(({ type }) => type === "SOURCES"));
  const swarms = heard.filter(({ type }) => ["ANNOUNCE", "SOURCES"].includes(type));
  expect(new Set(swarms.map(({ payload }) => payload.content))).toEqual(new Set([GROUP]));
  expect(new Set(swarms.map(({ payload }) => payload.token))).toEqual(new Set(["group"]));
  expect(first.stats().contents).toHaveLength(files.length);
});

test("of a stream that goes on for ever only the last segments are kept open", async () => {
  files = Array.from({ length: 440 }, () => randomBytes(BYTES));
  const viewer = site.visitor({ fetch: ask });
  await watch(viewer, files.keys());
  expect(viewer.stats().contents.length).toBeLessThanOrEqual(400);
  await watch(viewer, [0]); // back to the beginning
});

test.each([
  ["live stream", true],
  ["film", false],
])("of a %s that uses a name again, the present bytes are played", async (_, goesOn) => {
  vi.useFakeTimers({ toFake: ["setTimeout"], shouldAdvanceTime: true });
  live = goesOn;
  const viewer = site.visitor({ fetch: ask });
  await watch(viewer, [0, 1, 2]);
  const before = viewer.known(address(0));
  expect(before).not.toBeNull();
  // The encoder begins anew; manifests of 3 and more have come ahead.
  if (live) files = files.map(() => randomBytes(BYTES));
  await vi.advanceTimersByTimeAsync(31_000);
  expect(viewer.known(address(0)) === before).toBe(!live);
  await watch(viewer, [0, 3, 4]);
  expect(questions).toHaveLength(live ? 2 : 1);
});

test(
  "a number in use is not given to another when all have been used",
  { timeout: 30_000 },
  async () => {
    const numberOf = (n: number): number =>
      (viewer.known(address(n)) as unknown as { number: number }).number;
    const [token, expires] = ["t", Date.now() / 1000 + 3600];
    const about = { ...manifest(0), token, expires, group: { key: GROUP, token, expires } };
    const viewer = site.visitor({
      RTCPeerConnection: undefined,
      fetch: (input) => {
        const url = new URL(input as string).searchParams.get("url") ?? "";
        const key = String(parseInt(url.slice(5), 10)).padStart(32, "0");
        return Promise.resolve({
          status: 200,
          json: () => Promise.resolve({ ...about, url, key }),
        }) as never;
      },
    });
    const content = await viewer.content(address(0));
    content?.attach(new Player(60));
    const used = numberOf(0);
    for (let n = 1; n < 65_600; n++) {
      await viewer.content(address(n));
      const number = numberOf(n);
      if (number === used || number > 65_535)
        expect.unreachable(`${String(n)} is ${String(number)}`);
    }
  },
);
