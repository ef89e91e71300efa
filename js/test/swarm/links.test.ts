/** Whom we connect to: what peers say of others is worth less than the coordinator's word. */
import { beforeEach, expect, test } from "vitest";
import { Bits } from "../../src/swarm/bits";
import type { Link } from "../../src/swarm/link";
import { Links } from "../../src/swarm/links";
import { sleep } from "../../src/within";

const PLACES = 8;
const FILM = "f".repeat(32);
const CONNECT_S = 12;
const sdp = { type: "offer", sdp: "" } as const;
const ids = (name: string, n = PLACES): string[] =>
  Array.from({ length: n }, (_, i) => name + String(i));

class Channel {
  readonly readyState = "open";
  readonly bufferedAmount = 0;
  onopen: (() => void) | null = null;
  send = (): void => undefined;
}

let now: number;
let links: Links;
let contents: Map<string, unknown>;
/** Peers in the order of their connections, and the channels of these. */
let peers: string[];
let channels: Channel[];

/** A connection that comes when the test says so. */
class Connection {
  readonly localDescription = sdp;
  createDataChannel(): Channel {
    const channel = new Channel();
    channels.push(channel);
    return channel;
  }
  createOffer = (): object => sdp;
  createAnswer = (): object => sdp;
  setLocalDescription = (): void => undefined;
  setRemoteDescription = (): void => undefined;
  close = (): void => undefined;
}

beforeEach(async () => {
  now = 100;
  [peers, channels] = [[], []];
  contents = new Map();
  const host = {
    ...{ now: () => now, contents, mayUpload: () => true, uploadCap: () => 1e6 },
    ...{ inTime: () => true, serve: () => undefined, heardOf: () => undefined },
    ...{ opened: () => undefined, closed: () => undefined },
    signal: ({ type, dst }: { type: string; dst: string }) => {
      if (type !== "CANDIDATE") peers.push(dst);
    },
  };
  const deps = { RTCPeerConnection: Connection, now: () => now, random: () => Math.random() };
  links = new Links("me", {}, PLACES, host as never, deps as never);
  links.heard("OFFER", "eve", { p2pcdn: 1, connectionId: "c", sdp });
  await sleep(0);
  comes("eve");
});

/** Whom `work` makes us call. */
async function calls(work: () => void): Promise<string[]> {
  const before = peers.length;
  work();
  await sleep(0);
  return peers.slice(before);
}

/** A peer that was called is there, and has sent something. */
function comes(id: string): void {
  channels[peers.lastIndexOf(id)]?.onopen?.();
  const link = links.get(id);
  if (link) link.received = 1;
}

/** A content of ours. */
function film(held: Bits): void {
  const claims = (): [] => [];
  contents.set(FILM, { number: 0, key: FILM, held, hides: undefined, claims, poke: claims });
}

const says = (what: string[], namer = "eve"): Promise<string[]> =>
  calls(() => {
    links.hearsay(namer, what);
  });
const coordinator = (what: string[]): Promise<string[]> =>
  calls(() => {
    links.offer(what);
  });
/** Nobody came meanwhile; who is there says hello now and then. */
function pass(seconds: number): void {
  now += seconds;
  for (const link of links.open()) Object.assign(link, { heardAt: now, openedAt: now });
  links.tick();
}

test("ids that a peer makes up take a few places, once, and nobody waits for them", async () => {
  expect(await says(ids("x"))).toEqual(ids("x", 3));
  expect(links.connecting).toBe(0);
  expect(await coordinator(["a"])).toEqual(["a"]);
  expect(links.connecting).toBe(1);
  expect(await coordinator([])).toEqual([]);
});

test("who names others too often is not heard, and who names nobody real not for long", async () => {
  await says(["x"]);
  pass(5);
  expect(await says(["y"])).toEqual([]);
  pass(CONNECT_S);
  expect(links.stats().map(({ id }) => id)).toEqual(["eve"]);
  pass(20);
  expect(await says(["z"])).toEqual([]);
  pass(120);
  expect(await says(["z"])).toEqual(["z"]);
});

test("what the coordinator named comes first, whatever peers say", async () => {
  expect(await coordinator(ids("a"))).toEqual(ids("a", 7)); // one place is taken
  pass(CONNECT_S + 1);
  expect(await says(ids("x"))).toEqual(["a7", "x0", "x1", "x2"]);
  for (const name of ["y", "z"]) {
    pass(CONNECT_S + 1);
    pass(130); // all may be tried again
    expect(await says(ids(name))).toEqual(ids("a", 7));
  }
});

test("peers that were named and have sent something make room for the next", async () => {
  const named = ids("b", 6);
  expect(await says(named)).toEqual(named.slice(0, 3));
  named.slice(0, 3).forEach(comes);
  pass(20);
  expect(await says(named)).toEqual(named.slice(3));
});

test("a link that is of no use makes way for a peer that is known, when all places are taken", async () => {
  const held = new Bits(8);
  const has = (segments: number[]): Bits => {
    const bits = new Bits(8);
    for (const s of segments) bits.put(s, true);
    return bits;
  };
  film(held);
  held.put(0, true);
  expect(await coordinator(ids("a"))).toEqual(ids("a", 7));
  ids("a", 7).forEach(comes);
  const joins = (id: string, segments: number[]): void => {
    const remote = { key: FILM, has: has(segments), claims: new Map(), progressAt: 0 };
    links.get(id)?.remotes.set(0, remote);
  };
  // All have something for us, but one; what that one has we have, too.
  for (const { id } of links.stats()) joins(id, id === "a3" ? [0] : [0, 5]);
  const linked = (): string[] => links.stats().map(({ id }) => id);
  await calls(() => {
    pass(50);
  });
  expect(linked()).toContain("a3");
  expect(
    await calls(() => {
      pass(20);
    }),
  ).toEqual(["a7"]);
  expect(linked()).not.toContain("a3");
  // Not again for a while, and nobody else is known.
  expect(
    await calls(() => {
      pass(50);
    }),
  ).toEqual([]);
});

test.each([
  ["has given or taken something lately", (link: Link) => (link.usedAt = now + 50), 1],
  ["is there when nothing is wanted", () => undefined, 8],
])("a link that %s stays", async (_what, use, wanted) => {
  const held = new Bits(8);
  for (let s = 0; s < wanted; s++) held.put(s, true);
  film(held);
  await coordinator(ids("a"));
  ids("a", 7).forEach(comes);
  for (const link of links.open()) {
    const remote = { key: FILM, has: new Bits(8), claims: new Map(), progressAt: 0 };
    link.remotes.set(0, remote);
    use(link);
  }
  expect(
    await calls(() => {
      pass(70);
    }),
  ).toEqual([]);
});
