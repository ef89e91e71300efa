/* eslint-disable @typescript-eslint/no-non-null-assertion -- a test that fails there fails rightly */
import { beforeEach, describe, expect, test } from "vitest";
import { Bits } from "../../src/swarm/bits";
import { Link, type Channel, type Host, type PeerFlight, type Shared } from "../../src/swarm/link";
import * as wire from "../../src/swarm/wire";
import { generator } from "./wire.test";

const KEY = "00112233445566778899aabbccddeeff";
const SEGMENT = 65536;

let now: number;
let ended: boolean | null;
let got: [number, number][];
let said: wire.Message[];
let link: Link;
let upload: boolean;
let content: Shared;
let contents: Map<string, Shared>;
let heardOf: string[];

beforeEach(() => {
  now = 100;
  ended = null;
  upload = true;
  [got, said, heardOf] = [[], [], []];
  const channel: Channel = {
    bufferedAmount: 0,
    readyState: "open",
    send: (data) => {
      const message = wire.decode(new Uint8Array(data));
      if (message) said.push(message);
    },
  };
  const held = new Bits(4);
  held.put(1, true);
  content = {
    number: 0,
    key: KEY,
    size: 4 * SEGMENT - 100,
    segmentBytes: SEGMENT,
    held,
    bytes: (s) => (held.has(s) ? new Uint8Array(SEGMENT).fill(s) : null),
    hides: undefined,
    claims: () => [],
    poke: () => undefined,
    hint: () => undefined,
    received: (flight: PeerFlight, bytes) => got.push([flight.from, bytes.length]),
    uploadedBytes: () => undefined,
  };
  contents = new Map([[KEY, content]]);
  const host: Host = {
    now: () => now,
    contents,
    mayUpload: () => upload,
    uploadCap: () => 1e6,
    inTime: () => true,
    serve: () => undefined,
    heardOf: (_namer, _key, ids) => heardOf.push(...ids),
    ended: (_link, hostile) => {
      ended = hostile;
    },
  };
  link = new Link("them", channel, host);
});

const hear = (message: wire.Message): void => {
  link.hear(wire.encode(message).buffer);
};
const join = (has: number[] = [0, 1, 2, 3], c = 7): void => {
  const bits = new Bits(4);
  for (const s of has) bits.put(s, true);
  hear({ type: wire.JOIN, c, key: KEY, segments: 4, held: bits.bytes });
};
const data = (rid: number, offset: number, length = 16384): void => {
  hear({ type: wire.DATA, rid, offset, bytes: new Uint8Array(length) });
};
const last = <T extends wire.Message["type"]>(type: T): Extract<wire.Message, { type: T }> =>
  said.filter((m) => m.type === type).at(-1) as Extract<wire.Message, { type: T }>;
const ask = (from: number, to: number): number => {
  link.request(content, [from, to]);
  return last(wire.REQUEST).rid;
};

test("what was watched on another page is told to those only who join it themselves", () => {
  (content as { hides: unknown }).hides = (from: Link) => !from.remote(KEY);
  said = [];
  link.join(content);
  expect(said).toEqual([]);
  join([]);
  expect(last(wire.JOIN)).toMatchObject({ c: 0, key: KEY });
  expect([...last(wire.JOIN).held]).toEqual([0b01000000]);
});

test("a link opens with HELLO, what is held, and a PING", () => {
  expect(said.map((m) => m.type)).toEqual([wire.HELLO, wire.JOIN, wire.PING]);
});

test("who may upload no longer, or again, says so once", () => {
  link.tick();
  for (const may of [false, true]) {
    said = [];
    upload = may;
    link.tick();
    link.tick();
    expect(said).toEqual([{ type: wire.HELLO, version: 1, upload: may, capKiB: may ? 977 : 0 }]);
  }
});

test("who says that it uploads no longer is not asked, until it says otherwise", () => {
  join();
  for (const uploads of [false, true]) {
    hear({ type: wire.HELLO, version: 1, upload: uploads, capKiB: 0 });
    expect(link.room(SEGMENT) > 0).toBe(uploads);
  }
});

test("what was asked comes in order and is handed on", () => {
  join();
  const rid = ask(0, 32768);
  data(rid, 0);
  data(rid, 16384);
  expect(got.map(([, n]) => n)).toEqual([16384, 16384]);
  expect([link.queued, ended]).toEqual([0, null]);
});

describe("a peer that breaks the protocol loses the link", () => {
  test.each([
    [
      "by DATA at another offset",
      (rid: number) => {
        data(rid, 16384);
      },
    ],
    [
      "by the same DATA twice",
      (rid: number) => {
        [0, 0].forEach((at) => {
          data(rid, at);
        });
      },
    ],
    [
      "by more DATA than asked",
      (rid: number) => {
        [0, 16384].forEach((at) => {
          data(rid, at);
        });
      },
    ],
    [
      "by DATA nobody asked for",
      (rid: number) => {
        data(rid + 1, 0);
      },
    ],
    [
      "by text",
      () => {
        link.hear("hello");
      },
    ],
    [
      "by a giant frame",
      () => {
        link.hear(new ArrayBuffer(70_000));
      },
    ],
    [
      "by a HAVE beyond the content",
      () => {
        hear({ type: wire.HAVE, c: 7, runs: [[3, 2]] });
      },
    ],
    [
      "by a JOIN of another length",
      () => {
        hear({ type: wire.JOIN, c: 8, key: KEY, segments: 5, held: new Uint8Array(1) });
      },
    ],
    [
      "by a REQUEST beyond the segment",
      () => {
        hear({ type: wire.REQUEST, c: 7, rid: 1, segment: 3, offset: 0, length: SEGMENT });
      },
    ],
    [
      "by a REQUEST beyond the content",
      () => {
        hear({ type: wire.REQUEST, c: 7, rid: 1, segment: 4, offset: 0, length: 1 });
      },
    ],
  ])("%s", (_name, breach) => {
    join();
    breach(ask(0, 32768 - 1));
    expect(ended).toBe(true);
    expect(link.flights.size).toBe(0);
  });

  test("by a flood", () => {
    for (let i = 0; i < 5000 && ended === null; i++) hear({ type: wire.PING, token: i });
    expect(ended).toBe(true);
  });

  test("by joining endless contents", () => {
    for (let c = 0; c < 2000 && ended === null; c++) join([], c);
    expect(ended).toBe(true);
    expect(link.remotes.size).toBeLessThanOrEqual(512);
  });
});

test("DATA that was under way at a CANCEL is forgiven", () => {
  join();
  const rid = ask(0, 32768);
  const [flight] = link.flights.values();
  link.cancel(flight!);
  data(rid, 0);
  data(rid, 16384);
  expect([ended, got]).toEqual([null, []]);
  data(rid, 0);
  expect(ended).toBe(true);
});

describe("requests of a peer", () => {
  const request = (segment: number, c = 7): number => {
    hear({ type: wire.REQUEST, c, rid: 5, segment, offset: 0, length: 100 });
    return said.at(-1)!.type === wire.REJECT ? last(wire.REJECT).reason : 0;
  };
  test("are taken for what is held, and refused with the reason otherwise", () => {
    join();
    expect(request(1)).toBe(0);
    expect(link.orders).toHaveLength(1);
    expect(request(0)).toBe(wire.NOT_HELD);
    expect(request(1, 9)).toBe(wire.UNKNOWN_CONTENT);
    upload = false;
    expect(request(1)).toBe(wire.UPLOAD_OFF);
  });
  test("are refused as busy before they pile up", () => {
    join();
    for (let i = 0; i < 400; i++) request(1);
    expect(last(wire.REJECT).reason).toBe(wire.BUSY);
    expect(link.orders.length).toBeLessThanOrEqual(256);
  });
  test("are forgotten on CANCEL", () => {
    join();
    request(1);
    hear({ type: wire.CANCEL, rid: 5 });
    expect(link.orders).toHaveLength(0);
  });
});

describe("requests for what is on the disk", () => {
  let read: (() => void)[];
  let there: Uint8Array | null;
  beforeEach(() => {
    [read, there] = [[], null];
    content.bytes = (_s, then) => {
      if (!there) read.push(then!);
      return there;
    };
    join();
  });
  const request = (rid: number): void => {
    hear({ type: wire.REQUEST, c: 7, rid, segment: 1, offset: 100, length: 100 });
  };
  const arrive = (): void => {
    there = new Uint8Array(SEGMENT);
    for (const then of read) then();
  };
  test("are for the content that they were made for, whatever has its number later", () => {
    request(1);
    const short: Shared = { ...content, key: KEY.replace("0", "f"), size: 50, held: new Bits(1) };
    contents.set(short.key, short);
    hear({ type: wire.JOIN, c: 7, key: short.key, segments: 1, held: new Uint8Array(1) });
    arrive();
    expect(link.orders).toMatchObject([{ rid: 1, content: { key: KEY } }]);
    expect(ended).toBe(null);
  });
  test("are refused where the content is gone by then", () => {
    request(1);
    contents.delete(KEY);
    arrive();
    expect(last(wire.REJECT)).toMatchObject({ rid: 1, reason: wire.UNKNOWN_CONTENT });
  });
  test("that fail later end the link, as those that fail at once, and throw nothing", () => {
    request(1);
    request(2);
    (content as { size: number }).size = SEGMENT + 50;
    expect(arrive).not.toThrow();
    expect([ended, link.orders.length]).toEqual([true, 0]);
  });
  test("are refused as busy before they pile up, and no more when they are read", () => {
    for (let rid = 0; rid < 400; rid++) request(rid);
    expect(read.length).toBeLessThanOrEqual(256);
    expect(last(wire.REJECT).reason).toBe(wire.BUSY);
    arrive();
    link.orders.length = 0;
    request(400);
    expect(link.orders).toHaveLength(1);
  });
});

test("a refusal as busy is respected for a while, a refusal for good for good", () => {
  join();
  hear({ type: wire.REJECT, rid: ask(0, 10), reason: wire.BUSY });
  expect(link.room(SEGMENT)).toBe(0);
  now += 10;
  expect(link.room(SEGMENT)).toBeGreaterThan(0);
  hear({ type: wire.REJECT, rid: ask(0, 10), reason: wire.UPLOAD_OFF });
  now += 1000;
  expect(link.room(SEGMENT)).toBe(0);
});

test("refusals as busy that come together are respected as one", () => {
  join();
  const rids = [0, 1, 2].flatMap((segment) => [ask(segment, 10), ask(segment, 10)]);
  for (const rid of rids) hear({ type: wire.REJECT, rid, reason: wire.BUSY });
  now += 1;
  expect(link.room(SEGMENT)).toBeGreaterThan(0);
});

test("who is too busy for half a minute is not counted on until it delivers", () => {
  join();
  now += 12;
  for (let n = 0; n < 4; n++) {
    hear({ type: wire.REJECT, rid: ask(0, 10), reason: wire.BUSY });
    expect(link.refuses).toBe(false);
    now += 5;
  }
  expect(link.refuses).toBe(true);
  expect(link.room(SEGMENT)).toBeGreaterThan(0);
  data(ask(0, 16384), 0);
  expect(link.refuses).toBe(false);
});

test("what a peer turns out not to hold is not asked of it again", () => {
  join();
  hear({ type: wire.REJECT, rid: ask(0, 10), reason: wire.NOT_HELD });
  expect(link.remote(KEY)!.has.has(0)).toBe(false);
});

test("claims are believed for a few seconds", () => {
  join([]);
  hear({ type: wire.CLAIM, c: 7, runs: [[2, 2]] });
  expect([...link.remote(KEY)!.claims.keys()]).toEqual([2, 3]);
  now += 6;
  link.tick();
  expect(link.remote(KEY)!.claims.size).toBe(0);
});

test("progress is a HAVE of what was claimed and is new, and nothing else", () => {
  join([0]);
  const { progressAt } = link.remote(KEY)!;
  for (const runs of [[], [[0, 1]], [[3, 1]]] as wire.Run[][]) {
    hear({ type: wire.CLAIM, c: 7, runs: [[0, 2]] });
    now++;
    hear({ type: wire.HAVE, c: 7, runs });
    expect(link.remote(KEY)!.progressAt).toBe(progressAt);
  }
  hear({ type: wire.HAVE, c: 7, runs: [[1, 1]] });
  expect(link.remote(KEY)!.progressAt).toBe(now);
});

test("claims that were doubted are believed again when something is delivered", () => {
  join();
  link.doubted = true;
  data(ask(0, 16384), 0);
  expect(link.doubted).toBe(false);
});

test("a peer that stops answering is given up, and in the end dropped", () => {
  join();
  for (let i = 0; i < 3; i++) {
    ask(0, 10);
    now += 9;
    hear({ type: wire.PONG, token: 0 });
    link.tick();
    expect(link.flights.size).toBe(0);
  }
  expect(ended).toBe(true);
});

test("a peer that says nothing at all is dropped, and not as an enemy", () => {
  now += 60;
  link.tick();
  expect(ended).toBe(false);
});

test("the round trip is measured", () => {
  now += 0.25;
  hear({ type: wire.PONG, token: (said.at(-1) as { token: number }).token });
  expect(link.rtt).toBeCloseTo(0.25);
});

test("random frames never throw, and never hand on bytes that were not asked for", () => {
  const random = generator(7);
  for (let round = 0; round < 300; round++) {
    const frame = new Uint8Array(Math.floor(random() * 60)).map(() => random() * 256);
    if (frame.length) frame[0] = 1 + random() * 13;
    if (random() < 0.5 && frame.length > 2) frame.set([0, 7], 1);
    ended = null;
    const before = link;
    link.hear(frame.buffer);
    expect(link).toBe(before);
    expect(got).toEqual([]);
  }
});
