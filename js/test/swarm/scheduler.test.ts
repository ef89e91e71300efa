/* eslint-disable @typescript-eslint/no-non-null-assertion -- a test that fails there fails rightly */
import { describe, expect, test } from "vitest";
import { ORIGIN, type Span } from "../../src/swarm/assembly";
import {
  decide,
  type Action,
  type Claim,
  type Flight,
  type PeerView,
  type State,
} from "../../src/swarm/scheduler";

const S = 65536;
const NOW = 1000;

function peer(id: string, has: (s: number) => boolean, more: Partial<PeerView> = {}): PeerView {
  const view = { rtt: 0.02, rate: 1e6, queued: 0, room: 8 * S, silent: false };
  return { id, has, claim: () => null, ...view, ...more };
}

const all = (): boolean => true;
const none = (): boolean => false;
const CLAIM = { age: 0, ahead: 0 };

/** A player at 137.5 kB/s that has `left` seconds in hand at byte `at`. */
function state(more: Partial<State> & { left?: number; at?: number; held?: number[] } = {}): State {
  const { left = 10, at = 0, held = [], ...rest } = more;
  const size = 128 * S;
  return {
    me: "me",
    size,
    segmentBytes: S,
    demands: [{ at, end: size, left }],
    bytesPerS: 137_500,
    peers: [],
    flights: [],
    gaps: (s): Span[] => (held.includes(s) ? [] : [[s * S, (s + 1) * S]]),
    originOnly: none,
    origin: { latency: 0.05, rate: 2e6, retryAt: 0 },
    expecting: false,
    starving: left === 0,
    fresh: false,
    startRun: S,
    peerHorizon: 120,
    originHorizon: 60,
    since: new Map(),
    ...rest,
  };
}

const run = (s: State, now = NOW): Action[] => decide(s, now, () => 0.5);
const fromOrigin = (actions: Action[]): Span[] =>
  actions.flatMap((a) => (a.do === "origin" ? [a.span] : []));
const fromPeers = (actions: Action[]): [string, number][] =>
  actions.flatMap((a) => (a.do === "peer" ? [[a.peer, a.span[0] / S] as [string, number]] : []));
const flight = (source: string, from: number, to: number, more: Partial<Flight> = {}): Flight => ({
  source,
  from,
  to,
  since: NOW,
  heard: NOW,
  bulk: false,
  ...more,
});

describe("a start", () => {
  test("asks the origin at once for a first step, while links are being made", () => {
    const actions = run(state({ left: 0, fresh: true, expecting: true }));
    expect(actions).toEqual([{ do: "origin", span: [0, S], cause: "first", bulk: false }]);
  });
  test("takes the first bytes from a peer whose link is open", () => {
    const actions = run(state({ left: 0, peers: [peer("a", all)] }));
    expect(fromOrigin(actions)).toEqual([]);
    expect(fromPeers(actions)[0]).toEqual(["a", 0]);
  });
  test("does not hold the player up for a peer that is slower than the origin", () => {
    const slow = peer("a", all, { rtt: 1.5, rate: 50_000 });
    expect(fromOrigin(run(state({ left: 0, peers: [slow] })))[0]).toEqual([0, S]);
  });
  test("alone asks for long runs", () => {
    const [first] = fromOrigin(run(state({ left: 0 })));
    expect(first![1] - first![0]).toBeGreaterThanOrEqual(20 * S);
  });
  test("in the middle of a large segment asks from the player's byte on", () => {
    const big = state({ left: 0, at: 3 * S + 1000, expecting: true, segmentBytes: 16 * S });
    const gaps = (s: number): Span[] => [[s * 16 * S, (s + 1) * 16 * S]];
    expect(fromOrigin(run({ ...big, gaps }))[0]).toEqual([3 * S + 1000, 4 * S + 1000]);
  });
});

describe("a segment that a player entered in the middle", () => {
  const at = 3 * S + 32768;
  const front: Span = [3 * S, at];
  /** The rest is here, from peers: nothing of it is played before all is checked. */
  const gaps = (s: number): Span[] => (s === 3 ? [front] : [[s * S, (s + 1) * S]]);

  test("is not played without its front: nobody else has that, so the origin gives it", () => {
    const starved = state({ left: 0, at, gaps, peers: [peer("a", (s) => s > 3)] });
    run(starved); // who fetches what nobody holds waits for its turn
    expect(fromOrigin(run(starved, NOW + 0.3))[0]).toEqual(front);
  });
  test("whose front a peer does not bring gets it from the origin", () => {
    const peers = [peer("a", all, { silent: true })];
    const flights = [flight("a", ...front)];
    expect(fromOrigin(run(state({ left: 0, at, gaps, peers, flights })))[0]).toEqual(front);
  });
  test("leaves its front to peers while there is time", () => {
    const actions = run(state({ left: 5, at, gaps, peers: [peer("a", all)] }));
    expect(fromOrigin(actions)).toEqual([]);
    expect(actions).toContainEqual({ do: "peer", peer: "a", span: front });
  });
});

describe("with time in hand", () => {
  test("what a peer has comes from the peer", () => {
    const actions = run(state({ peers: [peer("a", all)] }));
    expect(fromOrigin(actions)).toEqual([]);
    expect(fromPeers(actions)[0]).toEqual(["a", 0]);
  });
  test("all of a segment that a player entered in the middle, however near the horizon", () => {
    const near = { peerHorizon: 4, originHorizon: 4, left: 0, at: 3 * S + 32768 };
    const asked = run(state({ ...near, peers: [peer("a", all)] }))
      .flatMap((a) => (a.do === "peer" ? [a.span] : []))
      .filter(([from]) => from < 4 * S);
    expect(asked).toEqual([
      [3 * S + 32768, 4 * S],
      [3 * S, 3 * S + 32768],
    ]);
  });
  test("no more is asked of a peer than its pipe holds", () => {
    const actions = run(state({ peers: [peer("a", all, { room: 3 * S })] }));
    expect(fromPeers(actions)).toHaveLength(3);
  });
  test("the faster of two peers is asked, and both when one is full", () => {
    const [a, b] = [peer("a", all, { rate: 2e6, room: 2 * S }), peer("b", all)];
    const ids = fromPeers(run(state({ peers: [a, b] }))).map(([id]) => id);
    expect(ids[0]).toBe("a");
    expect(new Set(ids)).toEqual(new Set(["a", "b"]));
  });
  test("what nobody holds waits while links are being made", () => {
    expect(run(state({ expecting: true }))).toEqual([]);
  });
  test("far ahead the rarest segments come first", () => {
    const held = Array.from({ length: 35 }, (_, i) => i);
    const rare = (s: number): boolean => s === 60;
    const common = (s: number): boolean => s !== 60;
    const peers = [peer("a", common), peer("b", common), peer("c", rare)];
    const actions = run(state({ left: 20, at: 35 * S, held, peers }));
    expect(fromPeers(actions)[0]).toEqual(["c", 60]);
  });
  test("nothing is fetched beyond the horizons", () => {
    const near = state({ peerHorizon: 0, originHorizon: 0, peers: [peer("a", all)] });
    expect(run(near)).toEqual([]);
  });
});

describe("a deadline", () => {
  test("that a peer cannot meet is the origin's", () => {
    const slow = peer("a", all, { rate: 40_000 });
    const actions = run(state({ left: 0.4, peers: [slow] }));
    expect(actions[0]).toMatchObject({ do: "origin", cause: "deadline", bulk: false });
  });
  test("nears sooner when the origin is slow", () => {
    const origin = { latency: 2, rate: 100_000, retryAt: 0 };
    const busy = peer("a", all, { room: 0 });
    expect(fromOrigin(run(state({ left: 3, peers: [busy] })))).toEqual([]);
    expect(fromOrigin(run(state({ left: 3, peers: [busy], origin })))[0]![0]).toBe(0);
  });
  test("overtakes a silent peer, and only the part that is missing", () => {
    const silent = peer("a", all, { silent: true, queued: S, room: 7 * S });
    const gaps = (s: number): Span[] => (s ? [] : [[30_000, S]]);
    const flights = [flight("a", 30_000, S)];
    const actions = run(state({ left: 0.1, peers: [silent], flights, gaps }));
    expect(actions[0]).toEqual({ do: "origin", span: [30_000, S], cause: "timeout", bulk: false });
  });
  test("is left to a peer that will meet it", () => {
    const flights = [flight("a", 0, S)];
    const peers = [peer("a", all, { queued: S })];
    expect(fromOrigin(run(state({ left: 0.45, peers, flights })))).toEqual([]);
  });
  test("does not matter yet when a silent peer's segment has time: another peer is asked", () => {
    const gaps = (s: number): Span[] => (s ? [] : [[0, S]]);
    const peers = [peer("a", all, { silent: true }), peer("b", all)];
    const actions = run(state({ left: 30, peers, flights: [flight("a", 0, S)], gaps }));
    expect(actions).toEqual([{ do: "peer", peer: "b", span: [0, S] }]);
  });
  test("is the same for all of a segment from peers: nothing of it plays before its last byte", () => {
    const slow = peer("a", all, { rate: 40_000, queued: 16_384, room: 0 });
    const gaps = (s: number): Span[] => (s ? [] : [[S - 16_384, S]]);
    const flights = [flight("a", S - 16_384, S)];
    // The byte that is on its way would not be needed for half a second after the first one.
    const actions = run(state({ left: 0.2, peers: [slow], flights, gaps }));
    expect(fromOrigin(actions)).toEqual([[S - 16_384, S]]);
  });
  test("that a slow peer will miss is another peer's while there is time", () => {
    const slow = peer("a", all, { rate: 10_000, queued: S });
    const quick = peer("b", all);
    const gaps = (s: number): Span[] => (s ? [] : [[0, S]]);
    const actions = run(
      state({ left: 5, peers: [slow, quick], flights: [flight("a", 0, S)], gaps }),
    );
    expect(fromPeers(actions)).toEqual([["b", 0]]);
    const later = state({ left: 12, peers: [slow, quick], flights: [flight("a", 0, S)], gaps });
    expect(run(later)).toEqual([]);
  });
  test("does not ask the origin twice for the same bytes", () => {
    const flights = [flight(ORIGIN, 0, 4 * S)];
    const spans = fromOrigin(run(state({ left: 0, flights, expecting: true })));
    expect(spans.every(([from]) => from >= 4 * S)).toBe(true);
  });
  test("waits for an origin that failed a moment ago, and takes what peers have", () => {
    const origin = { latency: 0.05, rate: 2e6, retryAt: NOW + 1 };
    const slow = peer("a", all, { rate: 20_000 });
    expect(fromPeers(run(state({ left: 0, origin, peers: [slow] })))[0]).toEqual(["a", 0]);
    expect(run(state({ left: 0, origin }))).toEqual([]);
  });
});

describe("what nobody holds", () => {
  /** All peers of a swarm decide about the same 60 s of gaps, for some rounds of time. */
  function swarm(ids: string[], rounds: number, dead: string[] = []): Map<number, string[]> {
    const taken = new Map<number, string[]>();
    const memory = new Map(ids.map((id) => [id, new Map<number, number>()]));
    const claims = new Map<number, [string, number]>();
    for (let round = 0; round < rounds; round++) {
      for (const me of ids) {
        if (dead.includes(me)) continue;
        const others = ids.filter((id) => id !== me);
        // It takes a second until a peer has what it claims.
        const late = (id: string, s: number): boolean | null => {
          const [by, at] = claims.get(s) ?? [];
          return by === id ? round - (at ?? 0) > 6 : null;
        };
        const peers = others.map((id) =>
          peer(id, (s) => late(id, s) === true, {
            claim: (s) => (late(id, s) === false ? CLAIM : null),
          }),
        );
        const held = [...taken.keys()].filter((s) => taken.get(s)!.includes(me));
        const s = state({ me, peers, held, since: memory.get(me)! });
        for (const [from, to] of fromOrigin(run(s, NOW + 0.15 * round))) {
          for (let seg = from / S; seg * S < to; seg++) {
            taken.set(seg, [...(taken.get(seg) ?? []), me]);
            claims.set(seg, [me, round]);
          }
        }
      }
    }
    return taken;
  }
  const IDS = ["a", "b", "c", "d", "e", "f", "g", "h"];

  test("leaves the origin once among peers that hear each other's claims", () => {
    const taken = swarm(IDS, 120);
    expect(taken.size).toBeGreaterThan(90);
    const copies = [...taken.values()].reduce((sum, by) => sum + by.length, 0);
    expect(copies / taken.size).toBeLessThanOrEqual(1.02);
  });
  test("is shared out evenly", () => {
    const by = new Map<string, number>();
    for (const ids of swarm(IDS, 120).values()) by.set(ids[0]!, (by.get(ids[0]!) ?? 0) + 1);
    expect(by.size).toBe(IDS.length);
  });
  test("does not wait for a peer that vanished without a word", () => {
    const taken = swarm(IDS, 120, ["a", "b", "c"]);
    expect(taken.size).toBeGreaterThan(90);
  });
  test("is what those say they have who are always too busy, too", () => {
    const busy = { room: 0, refuses: true };
    expect(fromOrigin(run(state({ peers: [peer("a", all, { room: 0 })] })))).toEqual([]);
    expect(fromOrigin(run(state({ peers: [peer("a", all, busy)] })))[0]![0]).toBe(0);
    // It may give one day.
    const asked = fromPeers(run(state({ peers: [peer("a", all, { refuses: true })] })));
    expect(asked[0]).toEqual(["a", 0]);
  });
  test("is nobody else's while a peer claims it", () => {
    const peers = [peer("a", none, { claim: () => CLAIM })];
    expect(run(state({ peers }))).toEqual([]);
  });
  test("from a scarce origin leaves it in playing order, however soon all of it is needed", () => {
    const origin = { latency: 0.1, rate: 40_000, retryAt: 0 };
    const first = (n: number) => peer("z", none, { claim: (s) => (s < n ? CLAIM : null) });
    const since = new Map(Array.from({ length: 9 }, (_, s) => [-1 - s, NOW - 10] as const));
    const asked = (n: number): Span[] =>
      fromOrigin(run(state({ left: 0, peers: [first(n)], origin, since })));
    expect(asked(1)[0]![0]).toBe(S);
    expect(asked(3)).toEqual([]);
  });
  test("is waited for as long as the claim will make it, and no longer", () => {
    const inTime = state({ peers: [peer("a", none, { claim: () => CLAIM })], left: 0.4 });
    const late = peer("a", none, { claim: () => ({ age: 0, ahead: 30 }) });
    const failed = peer("a", none, { claim: () => ({ age: 60, ahead: 0 }) });
    expect(run(inTime)).toEqual([]);
    for (const p of [late, failed]) {
      const s = state({ peers: [p], left: 0.2 });
      run(s);
      expect(fromOrigin(run(s, NOW + 0.5))[0]![0]).toBe(0);
    }
  });
});

test("a peer that claims the same for ever is waited for once, and doubted", () => {
  const origin = { latency: 0.1, rate: 200_000, retryAt: 0 };
  const liar = peer("z", none, { claim: () => CLAIM });
  for (const left of [0, 30]) {
    const s = state({ me: "a", left, peers: [liar], origin });
    expect(run(s)).toEqual([]);
    expect(run(s, NOW + 2)).toEqual([]);
    expect(run(s, NOW + 4)).toContainEqual({ do: "doubt", peer: "z" });
    expect(fromOrigin(run(s, NOW + 4.5))[0]![0]).toBe(0);
  }
});

describe("bytes on their way from the origin", () => {
  test("that peers have by now are cut short", () => {
    const f = flight(ORIGIN, 100, 30 * S, { bulk: true });
    const actions = run(state({ peers: [peer("a", all)], flights: [f] }));
    expect(actions).toContainEqual({ do: "trim", flight: f, to: S });
  });
  test("are given up after a seek", () => {
    const f = flight(ORIGIN, 0, 30 * S, { bulk: true });
    const actions = run(state({ at: 100 * S, left: 0, flights: [f] }));
    expect(actions).toContainEqual({ do: "trim", flight: f, to: 0 });
  });
  test("are cut where a peer before us in rank fetches the same", () => {
    const trims = ["a", "b", "c", "d", "e", "f"].map((id) => {
      const claim = (s: number): Claim | null => (s >= 2 ? CLAIM : null);
      const f = flight(ORIGIN, 0, 4 * S, { bulk: true });
      return run(state({ peers: [peer(id, none, { claim })], flights: [f] })).some(
        (a) => a.do === "trim",
      );
    });
    expect(new Set(trims)).toEqual(new Set([true, false]));
  });
});

test("a spoilt segment is the origin's alone", () => {
  const actions = run(
    state({ peers: [peer("a", all)], originOnly: (s) => s === 0, held: [1, 2, 3] }),
  );
  expect(actions.find((a) => a.do === "origin")).toMatchObject({ cause: "rejected", span: [0, S] });
});

test("the same state gives the same decisions", () => {
  const make = (): State =>
    state({ left: 2, peers: [peer("a", all), peer("b", (s) => s % 2 > 0)] });
  expect(run(make())).toEqual(run(make()));
});

test("random states never make it throw, ask for nothing, or ask outside the content", () => {
  let seed = 42;
  const random = (): number => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (let i = 0; i < 400; i++) {
    const held = Array.from({ length: 128 }, (_, n) => n).filter(() => random() < 0.4);
    const peers = ["a", "b", "c"].slice(random() * 4).map((id) =>
      peer(id, () => random() < 0.5, {
        rate: random() * 1e6,
        room: (random() - 0.2) * 5 * S,
        silent: random() < 0.2,
        claim: () => (random() < 0.1 ? CLAIM : null),
      }),
    );
    const from = Math.floor(random() * 100) * S;
    const flights = [flight(random() < 0.5 ? ORIGIN : "a", from, from + S)];
    const at = Math.floor(random() * 128 * S);
    const s = state({ at, left: random() * 5, held, peers, flights, expecting: random() < 0.3 });
    for (const action of decide(s, NOW, random)) {
      if (!("span" in action)) continue;
      const [a, b] = action.span;
      expect(b).toBeGreaterThan(a);
      expect(a).toBeGreaterThanOrEqual(0);
      expect(b).toBeLessThanOrEqual(128 * S);
    }
  }
});
