/* eslint-disable @typescript-eslint/no-non-null-assertion -- a test that fails there fails rightly */
import { afterEach, expect, test, vi } from "vitest";
import type { Shared } from "../../src/swarm/link";
import { askManifest } from "../../src/swarm/manifest";
import type { Engine } from "../../src/engine";
import { first, Site, until, whole } from "./site";

vi.setConfig({ testTimeout: 30_000 });
let site: Site;
afterEach(() => site.stop());

/** A visitor that holds everything. */
async function seed(settings = {}): Promise<[Engine, Shared]> {
  const engine = site.visitor({}, settings);
  await whole(engine, site.url);
  await until(() => first(engine).held === first(engine).segments);
  return [engine, engine.known(site.url) as unknown as Shared];
}

type Bytes = Shared["bytes"];

function lie(liar: Shared, lies: (segment: number, bytes: Bytes) => Uint8Array | null): void {
  const bytes = liar.bytes.bind(liar);
  liar.bytes = (segment) => lies(segment, bytes);
}

async function plays(engine: Engine): Promise<boolean> {
  return site.file.equals(await whole(engine, site.url));
}

test("a peer that sends wrong bytes is caught, shunned and reported, and the video is whole", async () => {
  site = await new Site().start();
  const [, liar] = await seed();
  lie(liar, (segment, bytes) => bytes(segment)?.map((b) => b ^ 1) ?? null);
  const victim = site.visitor();
  expect(await plays(victim)).toBe(true);
  await until(() => first(victim).held === first(victim).segments);
  expect(first(victim)).toMatchObject({ fromPeers: 0, fromOrigin: site.file.length });
  expect(first(victim).rejected).toBeGreaterThan(0);
  expect(first(victim).rejected).toBeLessThanOrEqual(8 * site.segmentBytes);
  await until(() => site.coordinator.reports.length > 0);
  expect(victim.stats().peers).toEqual([]);
});

test("a peer that sends right bytes of another segment is caught", async () => {
  site = await new Site().start();
  const [, liar] = await seed();
  lie(liar, (segment, bytes) => bytes(segment === 0 ? 1 : 0));
  const victim = site.visitor();
  expect(await plays(victim)).toBe(true);
  expect(first(victim).fromPeers).toBe(0);
});

test("an honest peer is still used when a liar is in the swarm", async () => {
  site = await new Site({ size: 2_000_000 }).start();
  const [, liar] = await seed();
  const honest = site.visitor();
  await whole(honest, site.url);
  lie(liar, (segment, bytes) => bytes(segment)?.map((b) => b ^ 1) ?? null);
  const victim = site.visitor();
  expect(await plays(victim)).toBe(true);
  await until(() => first(victim).held === first(victim).segments);
  expect(first(victim).fromPeers).toBeGreaterThanOrEqual(0.9 * site.file.length);
});

test("a peer that announces what it does not hold costs nothing but the asking", async () => {
  site = await new Site().start();
  const [, liar] = await seed();
  liar.bytes = () => null;
  const victim = site.visitor();
  expect(await plays(victim)).toBe(true);
});

test("a peer that drips bytes is overtaken by the origin", async () => {
  site = await new Site().start();
  await seed({ uploadLimit: 3000 });
  const victim = site.visitor();
  expect(await plays(victim)).toBe(true);
});

test("a peer that vanishes in the middle of a transfer is not waited for", async () => {
  site = await new Site({ size: 3_000_000 }).start();
  const [peer] = await seed({ uploadLimit: 600_000 });
  const b = site.visitor();
  const done = plays(b);
  await until(() => b.stats().contents.length > 0 && first(b).fromPeers > 300_000);
  peer.close();
  expect(await done).toBe(true);
});

test("without a coordinator the video comes from the origin", async () => {
  site = await new Site().start();
  site.coordinatorDown = true;
  expect(await plays(site.visitor())).toBe(true);
});

test("without WebRTC the video comes from the origin", async () => {
  site = await new Site().start();
  const a = site.visitor({ RTCPeerConnection: undefined });
  expect(await plays(a)).toBe(true);
  await until(() => first(a).held === first(a).segments);
  expect(first(a).causes).toEqual({ "no-webrtc": first(a).segments });
});

test("an origin that ignores Range is read in one stream, once", async () => {
  site = await new Site({ size: 3_000_000 }).start();
  site.ignoreRange = true;
  const a = site.visitor();
  expect(await plays(a)).toBe(true);
  expect(site.requests.length).toBeLessThanOrEqual(2);
  expect(site.sent).toBeLessThanOrEqual(1.5 * site.file.length);
});

test("a read in the middle works with an origin that ignores Range", async () => {
  site = await new Site().start();
  site.ignoreRange = true;
  const a = site.visitor();
  const tail = await whole(a, site.url, 900_001);
  expect(site.file.subarray(900_001).equals(tail)).toBe(true);
  const head = await whole(a, site.url, 0, 10);
  expect(site.file.subarray(0, 10).equals(head)).toBe(true);
});

test("one byte, the last byte and an empty range can be read", async () => {
  site = await new Site({ size: 65537 }).start();
  const a = site.visitor();
  expect(await whole(a, site.url, 65536)).toEqual(site.file.subarray(65536));
  expect(await whole(a, site.url, 5, 6)).toEqual(site.file.subarray(5, 6));
  expect(await whole(a, site.url, 7, 7)).toHaveLength(0);
  expect(site.requests.every((r) => /^bytes=(\d+)-(\d+)$/.test(r ?? ""))).toBe(true);
});

test("a slow origin's bytes reach the player as they stream in", async () => {
  site = await new Site({ size: 1_000_000, segmentBytes: 1 << 20 }).start();
  site.throttle = 100_000;
  const content = await site.visitor().content(site.url);
  const abort = new AbortController();
  for await (const piece of content!.read(0, 1_000_000, abort.signal)) {
    expect(piece.length).toBeLessThan(100_000);
    break;
  }
  abort.abort();
  expect(site.sent).toBeLessThan(200_000);
});

test("a file that changed under its manifest is played as the origin has it, and not shared", async () => {
  site = await new Site().start();
  const a = site.visitor();
  await a.content(site.url);
  site.served = Buffer.from(site.file.map((b) => b ^ 255));
  expect(site.served.equals(await whole(a, site.url))).toBe(true);
  // The origin's bytes are handed out before the first hash is there.
  await until(() => a.known(site.url) === null);
});

test("a file of another size than the manifest's does not hang the reader", async () => {
  site = await new Site().start();
  const a = site.visitor();
  const content = await a.content(site.url);
  site.served = Buffer.concat([site.file, site.file]);
  let bytes = 0;
  for await (const p of content!.read(0, 1_000_000, new AbortController().signal))
    bytes += p.length;
  expect(bytes).toBe(1_000_000);
});

test("a read fails when the origin fails, and the next one tries again", async () => {
  site = await new Site().start();
  const a = site.visitor();
  await a.content(site.url);
  site.mediaStatus = 404;
  await expect(plays(a)).rejects.toThrow();
  site.mediaStatus = 0;
  expect(await plays(a)).toBe(true);
});

test("an aborted read ends, and its requests with it", async () => {
  site = await new Site({ size: 5_000_000 }).start();
  site.throttle = 200_000;
  const a = site.visitor();
  const content = await a.content(site.url);
  const abort = new AbortController();
  let got = 0;
  const reading = (async () => {
    for await (const piece of content!.read(0, 5_000_000, abort.signal)) got += piece.length;
  })();
  await until(() => site.sent > 0);
  abort.abort();
  await expect(reading).rejects.toThrow();
  expect(got).toBeLessThan(5_000_000);
  await until(() => {
    const { sent } = site;
    return sent === site.sent;
  });
  expect(site.sent).toBeLessThan(5_000_000);
});

test("a manifest that is not ready is asked for until it is", async () => {
  site = await new Site().start();
  site.manifestStatus = 202;
  site.retryAfter = 0.6;
  const a = site.visitor();
  const asked = a.content(site.url);
  await until(() => site.manifestAsked > 2);
  expect(a.known(site.url)).toBeNull();
  site.manifestStatus = 200;
  expect((await asked)?.size).toBe(site.file.length);
});

test("a manifest that takes too long is asked for again later", async () => {
  site = await new Site().start();
  site.manifestStatus = 202;
  site.retryAfter = 3;
  const soon = performance.now() + 1000;
  const loader = new URL("/p2pcdn/loader.js", site.url);
  expect(await askManifest(fetch, loader, site.url, "me", [], soon)).toBe(3);
});

test("memory stays under its ceiling, and what was given up can be read again", async () => {
  site = await new Site({ size: 2_000_000 }).start();
  const a = site.visitor({}, { memoryLimit: 500_000 });
  expect(await plays(a)).toBe(true);
  await until(() => first(a).held <= 7);
  expect(await plays(a)).toBe(true);
});

test("segments that were begun and left behind are not kept in memory", async () => {
  const MIB = 2 ** 20;
  site = await new Site({ size: 72 * MIB, segmentBytes: MIB }).start();
  site.throttle = 400_000;
  const content = (await site.visitor().content(site.url))!;
  for (let at = 0; at < site.file.length; at += 9 * MIB) {
    const abort = new AbortController();
    for await (const piece of content.read(at, site.file.length, abort.signal)) {
      expect(piece.length).toBeGreaterThan(0);
      break;
    }
    abort.abort();
  }
  await new Promise((done) => setTimeout(done, 500));
  const { making } = content as unknown as { making: Map<number, unknown> };
  expect([...making.keys()].filter((segment) => segment < 60)).toEqual([]);
});

test("an upload limit of zero means that nothing is uploaded", async () => {
  site = await new Site().start();
  const [peer] = await seed({ uploadLimit: 0 });
  expect(await plays(site.visitor())).toBe(true);
  expect(first(peer).uploaded).toBe(0);
});

test("a visitor on a cellular network uploads nothing", async () => {
  site = await new Site().start();
  const a = site.visitor({ connection: () => ({ type: "cellular" }) });
  await whole(a, site.url);
  expect(await plays(site.visitor())).toBe(true);
  expect(first(a).uploaded).toBe(0);
});
