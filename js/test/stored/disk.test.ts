/* eslint-disable @typescript-eslint/no-non-null-assertion -- a test that fails there fails rightly */
/** The store's disk behind real engines: what a visitor has after a reload, and what others get. */
import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Engine } from "../../src/engine";
import type { SwarmContent } from "../../src/swarm/content";
import { first, Player, Site, until, whole } from "../swarm/site";
import { Browser } from "./browser";

vi.setConfig({ testTimeout: 30_000 });
const SEGMENT = 65536;
let site: Site;
let browser: Browser;

beforeEach(async () => {
  site = await new Site().start();
  browser = new Browser(site);
});
afterEach(() => site.stop());

/** Watches the whole film, and leaves when it is stored. */
async function watched(engine = browser.tab()): Promise<void> {
  await whole(engine, site.url);
  await until(() => browser.files.used === site.file.length);
  await until(() => browser.storage.has("p2pcdn-stored"));
  engine.close();
  site.sent = 0;
}

const plays = async (engine: Engine): Promise<boolean> =>
  site.file.equals(await whole(engine, site.url));

test("after a reload the film comes from the disk, and only from there", async () => {
  await watched();
  const engine = browser.tab();
  expect(await plays(engine)).toBe(true);
  expect(site.sent).toBe(0);
  expect(first(engine)).toMatchObject({
    fromCache: site.file.length,
    fromOrigin: 0,
    fromPeers: 0,
    held: 16,
  });
});

test("of a film that was watched in part the rest comes from the site, once", async () => {
  const engine = browser.tab();
  await whole(engine, site.url, 0, 5 * SEGMENT);
  await until(() => browser.files.names.length >= 5);
  engine.close();
  await new Promise((done) => setTimeout(done, 50));
  const stored = browser.files.used;
  site.sent = 0;
  const later = browser.tab();
  expect(await plays(later)).toBe(true);
  expect(first(later).fromCache).toBe(stored);
  expect(site.sent).toBeLessThanOrEqual(site.file.length - stored);
});

test.each([
  ["another bit", (bytes: Uint8Array) => bytes.map((b, i) => (i === 1000 ? b ^ 1 : b))],
  ["a byte less", (bytes: Uint8Array) => bytes.slice(0, -1)],
  ["nothing in it", () => new Uint8Array(0)],
])("a stored segment with %s is thrown away and fetched again", async (_, change) => {
  await watched();
  const name = browser.files.names.find((n) => n.endsWith("/7"))!;
  const right = browser.files.entries.get(name)!;
  browser.files.entries.set(name, change(right));
  const engine = browser.tab();
  expect(await plays(engine)).toBe(true);
  expect(first(engine).fromCache).toBe(site.file.length - SEGMENT);
  expect(site.sent).toBe(SEGMENT);
  await until(() => Buffer.from(browser.files.entries.get(name) ?? []).equals(right));
});

test("a segment that is listed and not there is fetched like any other", async () => {
  await watched();
  const name = browser.files.names.find((n) => n.endsWith("/0"))!;
  browser.files.entries.delete(name);
  const engine = browser.tab();
  expect(await plays(engine)).toBe(true);
  expect(site.sent).toBe(SEGMENT);
});

test("a disk that does not answer keeps nobody from watching", async () => {
  await watched();
  const engine = browser.tab();
  await engine.content(site.url);
  browser.files.hangs = true;
  expect(await plays(engine)).toBe(true);
  await until(() => first(engine).fromOrigin === site.file.length);
});

test("who waits for a segment of a film that is replaced meanwhile is told", async () => {
  await watched();
  const engine = browser.tab();
  const content = (await engine.content(site.url)) as unknown as SwarmContent;
  await until(() => first(engine).held === 16);
  browser.files.hangs = true;
  const told = new Promise<void>((then) => content.bytes(7, then));
  content.changed();
  await told;
});

test("a disk that never opens keeps nobody from watching", async () => {
  await watched();
  const engine = browser.tab({ disk: () => new Promise(() => undefined) });
  expect(await plays(engine)).toBe(true);
});

test("a film that was changed is another film", async () => {
  await watched();
  (site as { file: Buffer }).file = site.served = randomBytes(site.file.length);
  const engine = browser.tab();
  expect(await plays(engine)).toBe(true);
  await until(() => first(engine).fromOrigin === site.file.length);
  expect(first(engine).fromCache).toBe(0);
});

test("what does not fit into memory is held all the same, and given to others", async () => {
  browser.pace = 10;
  const small = browser.tab({}, { memoryLimit: 4 * SEGMENT });
  const content = (await small.content(site.url))!;
  let at = 0;
  // As a player does: on and on, a little at a time.
  for (; at < site.file.length; at += 3 * SEGMENT) {
    await whole(small, site.url, at, at + 3 * SEGMENT);
    await until(() => browser.files.names.length >= content.stats().held - 4);
  }
  await until(() => browser.files.used === site.file.length);
  expect(content.stats().held).toBe(16);
  site.sent = 0;
  const other = site.visitor();
  expect(await plays(other)).toBe(true);
  expect(site.sent).toBeLessThanOrEqual(site.file.length / 4);
  expect(first(other).fromPeers).toBeGreaterThan(0.7 * site.file.length);
  // Nobody here has watched it from the disk.
  expect(content.stats().fromCache).toBe(0);
});

test("a film of an earlier page is passed on, and nobody is asked for it", async () => {
  await watched();
  browser.pace = 20;
  const next = browser.tab();
  await until(() => next.stats().contents.length === 1);
  await until(() => first(next).held === 16);
  const other = site.visitor();
  expect(await plays(other)).toBe(true);
  expect(site.sent).toBeLessThanOrEqual(site.file.length / 4);
  expect(first(other).fromPeers).toBeGreaterThan(0.7 * site.file.length);
  expect(first(next)).toMatchObject({ fromCache: 0, fromOrigin: 0, fromPeers: 0 });
  expect(first(next).uploaded).toBeGreaterThanOrEqual(first(other).fromPeers);
  // It may be watched here, too, without a byte from elsewhere.
  site.sent = 0;
  expect(await plays(next)).toBe(true);
  expect(site.sent).toBe(0);
});

test.each([
  ["Save-Data", { connection: () => ({ saveData: true }) }, {}],
  ["a cellular network", { connection: () => ({ type: "cellular" }) }, {}],
  ["uploads switched off", {}, { uploadLimit: 0 }],
])("with %s nothing of earlier pages is passed on", async (_, deps, settings) => {
  await watched();
  browser.pace = 100;
  const asked = site.manifestAsked;
  const next = browser.tab(deps, settings);
  await new Promise((done) => setTimeout(done, 500));
  expect(next.stats().contents).toEqual([]);
  expect(site.manifestAsked).toBe(asked);
});

test("a video that this page keeps from being shared is not passed on", async () => {
  await watched();
  browser.pace = 100;
  browser.off.add(site.url);
  const next = browser.tab();
  await new Promise((done) => setTimeout(done, 500));
  expect(next.stats().contents).toEqual([]);
});

test("what the site has replaced is not passed on but deleted", async () => {
  await watched();
  (site as { file: Buffer }).file = randomBytes(site.file.length);
  browser.pace = 20;
  const next = browser.tab();
  await until(() => browser.files.used === 0);
  expect(next.stats().contents).toEqual([]);
});

test("what the site wants to be kept nowhere is kept nowhere", async () => {
  const noStore: typeof fetch = async (input, init) => {
    const answer = await fetch(input, init);
    const headers = { ...Object.fromEntries(answer.headers), "cache-control": "no-store" };
    return new Response(answer.body, { status: answer.status, headers });
  };
  browser.pace = 20;
  const engine = browser.tab({ fetch: noStore });
  expect(await plays(engine)).toBe(true);
  await new Promise((done) => setTimeout(done, 500));
  expect(browser.files.names).toEqual([]);
});

test("what is live is not stored: nobody comes back to it", async () => {
  const live: typeof fetch = async (input, init) => {
    const answer = await fetch(input, init);
    if (!(input as string).includes("/manifest?")) return answer;
    const group = {
      key: "9".repeat(32),
      token: "t",
      expires: Date.now() / 1000 + 3600,
      live: true,
    };
    return Response.json({ ...((await answer.json()) as object), group });
  };
  browser.pace = 20;
  const engine = browser.tab({ fetch: live });
  expect(await plays(engine)).toBe(true);
  await new Promise((done) => setTimeout(done, 500));
  expect(browser.files.names).toEqual([]);
});

test("who opts out in the middle has all of it deleted, and plays on", async () => {
  const engine = browser.tab();
  await whole(engine, site.url);
  await until(() => browser.files.used === site.file.length);
  browser.storage.set("p2pcdn", "off");
  await until(() => browser.files.entries.size === 0);
  expect(browser.storage.has("p2pcdn-stored")).toBe(false);
  expect(await plays(engine)).toBe(true);
});

test("after its days are over nothing is left", async () => {
  await watched();
  browser.ahead = 8 * 86_400_000;
  const engine = browser.tab();
  await until(() => browser.files.used === 0);
  expect(await plays(engine)).toBe(true);
});

test("two tabs on one film fetch it once, without any link", async () => {
  site.throttle = 400_000;
  const tabs: Engine[] = [];
  for (let i = 0; i < 2; i++) {
    const tab = browser.tab({ RTCPeerConnection: undefined });
    tabs.push(tab);
    const content = await tab.content(site.url);
    // The second one comes when the first has stored something, and knows of it.
    await until(() => i === 0 || first(tab).held > 0);
    // A player with some seconds in hand: what is needed at once everybody fetches.
    const player = new Player(60);
    player.loaded = 30;
    content?.attach(player);
    await until(() => browser.files.names.length > 0);
  }
  expect(await Promise.all(tabs.map(plays))).toEqual([true, true]);
  expect(site.sent).toBeLessThan(1.5 * site.file.length);
  const cached = tabs.reduce((sum, tab) => sum + first(tab).fromCache, 0);
  expect(cached).toBeGreaterThan(0.5 * site.file.length);
});

test("a tab that claims everything and then freezes holds nobody up", async () => {
  const channel = browser.channel();
  const engine = browser.tab({ RTCPeerConnection: undefined });
  const content = (await engine.content(site.url))!;
  const here = [[content.key, [[0, 16]]]];
  channel.postMessage({ v: "test", id: "frozen", here, serves: [] });
  expect(await plays(engine)).toBe(true);
  // Nor does what is no message of ours.
  for (const data of [null, 1, "x", { v: "test", id: "y" }, { v: "test", id: "y", here: 3 }])
    channel.postMessage(data);
  channel.postMessage({ v: "test", id: "y", gone: [[content.key, [0, 1, 99, -1, "x"]]] });
  channel.postMessage({ v: "test", id: "y", stored: [[content.key, [3, 99, -1]]] });
  await new Promise((done) => setTimeout(done, 100));
  expect(await plays(engine)).toBe(true);
  channel.close();
});

test("with a ceiling of a few segments the film plays, and the ceiling holds", async () => {
  const engine = browser.tab({}, { diskLimit: 5 * SEGMENT });
  expect(await plays(engine)).toBe(true);
  await until(() => browser.files.names.length > 0);
  await new Promise((done) => setTimeout(done, 500));
  expect(browser.files.used).toBeLessThanOrEqual(5 * SEGMENT);
  expect(first(engine).held).toBe(16);
  const writes = browser.files.writes;
  await new Promise((done) => setTimeout(done, 500));
  expect(browser.files.writes).toBe(writes);
});
