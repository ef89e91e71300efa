import { describe, expect, test } from "vitest";
import type { Playback } from "../../src/engine";
import { Assembly, ORIGIN, subtract } from "../../src/swarm/assembly";
import { Bits, runsOf } from "../../src/swarm/bits";
import { bufferedAhead, needs } from "../../src/swarm/clock";
import { parseManifest } from "../../src/swarm/manifest";
import { Origin } from "../../src/swarm/origin";
import { Store, type Shelf } from "../../src/swarm/store";
import { Uploader, type Outlet } from "../../src/swarm/uploader";
import { Clock } from "../sim/clock";

const bytes = (...values: number[]): Uint8Array => new Uint8Array(values);

describe("a segment in the making", () => {
  test("keeps what came first and knows what is missing", () => {
    const a = new Assembly(10);
    expect(a.add(2, bytes(1, 1, 1), "p")).toBe(3);
    expect(a.add(0, bytes(2, 2, 2, 2, 2, 2), ORIGIN)).toBe(3);
    expect([...a.data.subarray(0, 6)]).toEqual([2, 2, 1, 1, 1, 2]);
    expect(a.gaps()).toEqual([[6, 10]]);
    expect(a.shares()).toEqual(
      new Map([
        ["p", 3],
        [ORIGIN, 3],
      ]),
    );
  });
  test("lets only the origin's bytes be played before the check", () => {
    const a = new Assembly(10);
    a.add(0, bytes(0, 0, 0), "p");
    a.add(3, bytes(0, 0, 0), ORIGIN);
    expect(a.trustedTo(0)).toBe(0);
    expect(a.trustedTo(3)).toBe(6);
    expect(a.trustedTo(5)).toBe(6);
    expect(a.trustedTo(6)).toBe(6);
  });
  test("tells in the end who lied and who did not", () => {
    const a = new Assembly(4);
    a.add(0, bytes(1), "honest");
    a.add(1, bytes(9), "liar");
    a.add(2, bytes(3, 4), ORIGIN);
    a.distrust();
    expect(a.gaps()).toEqual([[0, 2]]);
    a.add(0, bytes(1, 2), ORIGIN);
    expect(a.liars()).toEqual(new Set(["liar"]));
  });
  test("the bytes that others cover are taken from a span", () => {
    const cuts = [
      [2, 4],
      [8, 12],
      [3, 5],
    ] as const;
    expect(subtract([0, 10], cuts)).toEqual([
      [0, 2],
      [5, 8],
    ]);
  });
});

test("the first segment is the high bit of the first byte", () => {
  const bits = new Bits(10);
  for (const s of [0, 9]) bits.put(s, true);
  expect([...bits.bytes]).toEqual([0x80, 0x40]);
  expect(new Bits(10, bits.bytes).count).toBe(2);
  expect(bits.runs()).toEqual([
    [0, 1],
    [9, 1],
  ]);
  expect(bits.put(10, true)).toBe(false);
  expect(runsOf([5, 3, 4, 9])).toEqual([
    [3, 3],
    [9, 1],
  ]);
});

describe("a player's clock", () => {
  const player = (more: Partial<Playback> & { ranges?: [number, number][] }): Playback => {
    const { ranges = [], ...rest } = more;
    return {
      currentTime: 0,
      duration: 100,
      playbackRate: 1,
      paused: false,
      seeking: false,
      ended: false,
      readyState: 4,
      buffered: {
        length: ranges.length,
        start: (i) => ranges[i]?.[0] ?? NaN,
        end: (i) => ranges[i]?.[1] ?? NaN,
      },
      ...rest,
    };
  };
  const SIZE = 1e8;
  const left = (p: Playback, waiting: number | null = 0): number | undefined =>
    needs(SIZE, [{ at: 500, end: 1000, waiting }], 500, [p], 0).demands[0]?.left;
  /** Players stop some tenths of a second before their buffer has run out. */
  const nearly = (actual: number | undefined, full: number): void => {
    expect(actual).toBeLessThan(full);
    expect(actual).toBeGreaterThan(full - 0.6);
  };

  test("gives until its buffer runs out, whatever the bit rate", () => {
    const ranges: [number, number][] = [
      [0, 5],
      [10, 14],
    ];
    expect(bufferedAhead(player({ currentTime: 11, ranges }))).toBe(3);
    nearly(left(player({ currentTime: 11, ranges })), 3);
    nearly(left(player({ currentTime: 11, ranges, playbackRate: 2 })), 1.5);
  });
  test("gives nothing where nothing can be shown: a start, a seek, a stall", () => {
    const ranges: [number, number][] = [[0, 9]];
    expect(left(player({ readyState: 0 }))).toBe(0);
    expect(left(player({ seeking: true, ranges }))).toBe(0);
    expect(left(player({ readyState: 2 }))).toBe(0);
    expect(left(player({ readyState: 1, paused: true }))).toBe(0);
  });
  test("gives time to a paused and to an ended player", () => {
    nearly(left(player({ paused: true, ranges: [[0, 2]] })), 5);
    expect(left(player({ ended: true }), null)).toBe(Infinity);
  });
  test("gives none to one that is about to begin by itself, or it would never", () => {
    const starts = { autoplay: true, paused: true, readyState: 3 };
    nearly(left(player({ ...starts, ranges: [[0, 2]] })), 2);
    expect(needs(SIZE, [], 0, [player({ ...starts, ranges: [[0, 2]] })], 0).starving).toBe(false);
    nearly(left(player({ ...starts, currentTime: 9, ranges: [[8, 11]] })), 2);
    nearly(left(player({ ...starts, readyState: 4, ranges: [[0, 2]] })), 5);
    // Somebody stopped it.
    const played = { length: 1, start: () => 8, end: () => 9 };
    nearly(left(player({ ...starts, played, currentTime: 9, ranges: [[8, 11]] })), 5);
  });
  test("lets a waiting reader have something now and then, however much is in hand", () => {
    const p = player({ ranges: [[0, 90]] });
    const { demands } = needs(1000, [{ at: 500, end: 1000, waiting: 0 }], 500, [p], 20);
    expect(demands[0]?.left).toBe(0);
  });
  test("one that plays and lists nothing as buffered (Firefox) has what it was handed", () => {
    const handed = (bytes: number, more: Partial<Playback> = {}): number | undefined =>
      needs(SIZE, [{ at: bytes, end: SIZE, waiting: 0 }], 0, [player(more)], 0).demands[0]?.left;
    nearly(handed(1.5e6), 1.5);
    nearly(handed(1.5e6, { readyState: 3, currentTime: 0.5 }), 1);
    // Its index may be at the end, and is no film.
    nearly(handed(SIZE - 1), 1.5);
    expect(handed(SIZE - 1, { currentTime: 2 })).toBe(0);
    expect(handed(1.5e6, { readyState: 2 })).toBe(0);
    expect(handed(1.5e6, { duration: Infinity })).toBe(0);
  });
  test("a player that has closed its request is expected where it stopped", () => {
    const { demands } = needs(SIZE, [], 500, [player({ ranges: [[0, 4]] })], 0);
    expect(demands).toMatchObject([{ at: 500, end: SIZE }]);
    nearly(demands[0]?.left, 4.2);
  });
  test("bytes are needed at the file's mean rate and the player's pace", () => {
    expect(needs(1000, [], 0, [player({ playbackRate: 2 })], 0).bytesPerS).toBe(20);
    expect(needs(1000, [], 0, [player({ duration: NaN })], 0).bytesPerS).toBeGreaterThan(1000);
  });
});

describe("the origin's first guess", () => {
  const origin = (): Origin => {
    const bytes = new Uint8Array(65536);
    const headers = { "Content-Range": "bytes 0-65535/1000000" };
    const sink = { received: () => undefined, landed: () => undefined, changed: () => undefined };
    let now = 0;
    return new Origin(
      () => "http://site/a.mp4",
      1_000_000,
      sink,
      () => Promise.resolve(new Response(bytes, { status: 206, headers })),
      () => (now += 0.1),
    );
  };
  test("is what the worker had from it, but for good news: a cache may have given it", () => {
    const one = origin();
    const { rate } = one;
    one.gave(196_608, 0);
    expect(one.rate).toBe(rate);
    one.gave(196_608, 6);
    expect(one.rate).toBe(32_768);
  });
  test("counts no more when it has been measured", async () => {
    const one = origin();
    one.open([0, 65536], "first", false);
    await new Promise((done) => setTimeout(done, 10));
    const { rate } = one;
    expect(rate).not.toBe(origin().rate);
    one.gave(196_608, 6);
    expect(one.rate).toBe(rate);
  });
});

describe("the store", () => {
  const shelf = (at: number, gone: number[]): Shelf => ({
    distance: (s) => Math.abs(s - at),
    evicted: (s) => gone.push(s),
  });
  test("gives up what is farthest from any player, of any content", () => {
    const store = new Store(30);
    const [a, b]: [number[], number[]] = [[], []];
    const [one, two] = [shelf(0, a), shelf(100, b)];
    for (const s of [0, 9]) store.put(one, s, new Uint8Array(10));
    store.put(two, 99, new Uint8Array(10));
    store.put(two, 100, new Uint8Array(10));
    expect([a, b]).toEqual([[9], []]);
    expect(store.used).toBe(30);
    expect(store.get(one, 9)).toBeNull();
  });
  test("keeps at least what came last, and forgets a content that was closed", () => {
    const store = new Store(5);
    const one = shelf(0, []);
    store.put(one, 3, new Uint8Array(10));
    expect(store.get(one, 3)).not.toBeNull();
    store.drop(one);
    expect([store.used, store.get(one, 3)]).toEqual([0, null]);
  });
});

describe("uploads", () => {
  /** An outlet whose line drains at a rate; always has something to send. */
  function outlet(clock: Clock, rate: number): Outlet & { sent: number } {
    let free = 0;
    const self = {
      sent: 0,
      orders: [] as Outlet["orders"],
      backlog: () => Math.max(0, (free - clock.now) * rate),
      send: (message: Uint8Array) => {
        free = Math.max(free, clock.now) + message.length / rate;
        return true;
      },
      served: (_order: unknown, n: number) => {
        self.sent += n;
        refill();
      },
    };
    const refill = (): void => {
      if (!self.orders.length) {
        self.orders.push({ rid: 1, bytes: new Uint8Array(1 << 20), offset: 0, sent: 0 });
      }
    };
    refill();
    return self;
  }
  async function sent(limit: number | null, rates: number[], seconds: number): Promise<number[]> {
    const clock = new Clock();
    const restore = clock.install();
    try {
      const uploader = new Uploader(limit, () => clock.now);
      const outlets = rates.map((rate) => outlet(clock, rate));
      for (const o of outlets) uploader.outlets.add(o);
      uploader.pump();
      await clock.until(clock.sleep(seconds));
      uploader.stop();
      return outlets.map((o) => o.sent);
    } finally {
      restore();
    }
  }
  const sum = (numbers: number[]): number => numbers.reduce((a, b) => a + b, 0);

  test.each([20_000, 300_000, 3_000_000])("keep to a limit of %d B/s", async (limit) => {
    const total = sum(await sent(limit, [1e7, 1e7, 1e7], 20));
    expect(total / 20).toBeLessThanOrEqual(1.1 * limit);
    expect(total / 20).toBeGreaterThanOrEqual(0.9 * limit);
  });
  test("are shared fairly between peers", async () => {
    const [a = 0, b = 0] = await sent(300_000, [1e7, 1e7], 20);
    expect(a / b).toBeCloseTo(1, 1);
  });
  test("that would come too late to be of use are refused, one is always taken", () => {
    const uploader = new Uploader(100_000, () => 0);
    const slow = outlet(new Clock(), 1e7);
    slow.orders.length = 0;
    uploader.outlets.add(slow);
    const order = (bytes: number): unknown =>
      slow.orders.push({ rid: 1, bytes: new Uint8Array(bytes), offset: 0, sent: 0 });
    expect(uploader.inTime(4_000_000)).toBe(true);
    order(60_000);
    expect(uploader.inTime(30_000)).toBe(true);
    expect(uploader.inTime(60_000)).toBe(false);
    order(4_000_000);
    expect(uploader.inTime(1)).toBe(false);
  });
  test("without a limit leave part of the visitor's uplink alone", async () => {
    const total = sum(await sent(null, [200_000], 60));
    expect(total / 60).toBeLessThanOrEqual(0.95 * 200_000);
    expect(total / 60).toBeGreaterThanOrEqual(0.5 * 200_000);
  });
});

test("a manifest that cannot be is refused", () => {
  const good = {
    key: "0".repeat(32),
    size: 100,
    type: "video/mp4",
    segment_bytes: 64,
    hashes: Buffer.alloc(64).toString("base64"),
    token: "t",
    expires: 5,
  };
  expect(parseManifest(good)?.segmentBytes).toBe(64);
  for (const wrong of [
    { key: "x" },
    { size: 0 },
    { size: -1 },
    { size: 1.5 },
    { size: "100" },
    { segment_bytes: 0 },
    { segment_bytes: 2 ** 40 },
    { hashes: "AAAA" },
    { hashes: 5 },
    { token: null },
    { size: 2 ** 52, segment_bytes: 1 },
  ]) {
    expect(parseManifest({ ...good, ...wrong }), JSON.stringify(wrong)).toBeNull();
  }
});
