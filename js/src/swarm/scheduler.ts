/**
 * Who fetches which bytes from where, and when: the swarm's one decision function.
 *
 * Pure: time and randomness come in, actions go out; the only memory is `State.since`, which the
 * caller keeps between calls. It runs unchanged in a browser, in a test and in a simulation.
 * Times in seconds, positions in bytes of the content, spans half open.
 */
import { ORIGIN, subtract, type Source, type Span } from "./assembly";

/** A reader's position, and how long until its player needs the byte there. */
export interface Demand {
  readonly at: number;
  readonly end: number;
  readonly left: number;
}

export interface Claim {
  /** Seconds since it was made, or since its maker last showed progress. */
  readonly age: number;
  /** Claimed segments that come before this one. */
  readonly ahead: number;
}

export interface PeerView {
  readonly id: string;
  has(segment: number): boolean;
  /** Set where it said that it is fetching this one from the origin right now. */
  claim(segment: number): Claim | null;
  readonly rtt: number;
  /** Bytes per second it was seen to deliver. */
  readonly rate: number;
  /** Bytes asked of it and not yet here. */
  readonly queued: number;
  /** How many more may be asked now; negative or 0: none. */
  readonly room: number;
  /** Silent for longer than its own past explains. */
  readonly silent: boolean;
  /** Too busy for each of the last requests: it may be asked, and is not counted on. */
  readonly refuses?: boolean;
}

/** Bytes on their way. For the origin one flight may span several segments. */
export interface Flight {
  readonly source: Source;
  /** Next byte to come. */
  readonly from: number;
  readonly to: number;
  readonly since: number;
  /** When the last byte came, or `since`. */
  readonly heard: number;
  readonly bulk: boolean;
}

export interface State<F extends Flight = Flight> {
  readonly me: string;
  readonly size: number;
  readonly segmentBytes: number;
  readonly demands: readonly Demand[];
  /** What the player consumes, at its present rate. */
  readonly bytesPerS: number;
  readonly peers: readonly PeerView[];
  readonly flights: readonly F[];
  /** What of a segment is missing (nothing when it is held), in bytes of the content. */
  gaps(segment: number): readonly Span[];
  /** A segment that a mix of sources spoilt: from the origin or not at all. */
  originOnly(segment: number): boolean;
  readonly origin: {
    readonly latency: number;
    readonly rate: number;
    /** Not to be asked before (after an error). */
    readonly retryAt: number;
  };
  /** Peers may turn up any moment: links are being made, or the coordinator has not answered. */
  readonly expecting: boolean;
  /** The player has nothing to play: a start, a seek, a stall. */
  readonly starving: boolean;
  /** Nothing has been played yet. */
  readonly fresh: boolean;
  /** Longest request to the origin while starving. */
  readonly startRun: number;
  /** How far ahead of the player to fetch, in seconds. */
  readonly peerHorizon: number;
  readonly originHorizon: number;
  /** Since when a segment that nobody holds has been wanted; by segment and peer: and claimed. */
  readonly since: Map<number | string, number>;
}

/** Why bytes come from the origin (names: p2pcdn/stats/causes.py). */
export type Cause =
  "first" | "urgent" | "no-peer" | "deadline" | "timeout" | "busy" | "rejected" | "seed";

export type Action<F extends Flight = Flight> =
  | { readonly do: "peer"; readonly peer: string; readonly span: Span }
  | { readonly do: "origin"; readonly span: Span; readonly cause: Cause; readonly bulk: boolean }
  /** Let a flight end at `to`; at or before its `from`: cancel it. */
  | { readonly do: "trim"; readonly flight: F; readonly to: number }
  /** Do not believe its claims any more, until it delivers something. */
  | { readonly do: "doubt"; readonly peer: string };

/** Kept in hand against the jitter of clocks, timers and queues; less while a link comes up. */
const GUARD_S = 0.4;
const GUARD_EXPECTING_S = 0.25;
/** A peer may be that much later than the origin when the player is waiting already. */
const PATIENCE_S = 0.1;
/** The next in rank takes a segment over when the one before has not claimed it for that long. */
const TURN_S = 0.6;
/** The same for what is urgent, and the most that is waited. */
const URGENT_TURN_S = 0.1;
const URGENT_WAIT_S = 0.3;
/** An origin that gives one request less than this many times the medium's rate is scarce. */
const SCARCE = 2;
/** Segments on their way from a scarce origin to others that are enough for one's bytes to be used. */
const ENOUGH_COMING = 2;
/** From a segment's last byte at a peer to our request for it: its check, its HAVE. */
const RELAY_S = 0.1;
/** What a peer delivers by then is soon enough for a reader without a deadline. */
const SOON_S = 1;
/** Up to here in playing order; beyond, the rarest first. */
const IN_ORDER_S = 15;
/** When bytes are fetched that no player asked for, only to complete a segment. */
const LATER_S = 20;
/** Largest request to the origin among peers, and alone; how long one should take. */
const SHARED_RUN = 262144;
const LONE_RUN = 2097152;
const SHARED_RUN_S = 0.5;
const LONE_RUN_S = 2;
/**
 * How far beyond the first segment that nobody holds the swarm fetches: what the origin sends in
 * that time. A scarce origin's bytes go where they are needed first.
 */
const FRONTIER_S = 3;
const MAX_WANTED = 384;
/** Bytes so much later in play are another place of the medium: a seek, an index at the end. */
const SAME_PLACE_S = 10;

/** FNV-1a with an avalanche: a number that every peer computes alike. */
function hash(salt: number, text: string): number {
  let h = 0x811c9dc5 ^ Math.imul(salt, 0x9e3779b1);
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  return (h ^ (h >>> 13)) >>> 0;
}

/**
 * One peer's place in the queue of those that may fetch a group of segments from the origin
 * (rendezvous hashing: everybody who knows the same peers computes the same queue).
 */
function rank(group: number, me: string, others: readonly string[]): number {
  const mine = hash(group, me);
  return others.filter((id) => {
    const theirs = hash(group, id);
    return theirs > mine || (theirs === mine && id > me);
  }).length;
}

export function decide<F extends Flight>(
  s: State<F>,
  now: number,
  random: () => number,
): Action<F>[] {
  const { segmentBytes, origin, peers } = s;
  const actions: Action<F>[] = [];
  const queued = new Map(peers.map((p) => [p.id, p.queued]));
  const room = new Map(peers.map((p) => [p.id, p.room]));
  /** The last segment that is fetched for the swarm; set before anything is decided. */
  let frontier = Infinity;
  /** Peers that claim and do not fetch. */
  const doubted = new Set<string>();
  /** Where flights end that this decision cuts short. */
  const ends = new Map<F, number>();
  const end = (f: F): number => ends.get(f) ?? f.to;
  const trim = (flight: F, to: number): void => {
    ends.set(flight, to);
    actions.push({ do: "trim", flight, to });
  };
  /** Spans that are on their way, those that this decision gives out included. */
  const flying: Span[] = [];
  const lone = !peers.length && !s.expecting;
  const perGroup = Math.max(1, Math.floor(SHARED_RUN / segmentBytes));
  const segments = Math.ceil(s.size / segmentBytes);

  /** Seconds until the player needs a byte. */
  const left = (at: number): number => {
    let least = Infinity;
    for (const d of s.demands) {
      // The front of a segment that the player entered in the middle is needed later.
      if (at < d.end && at >= d.at - (d.at % segmentBytes))
        least = Math.min(least, d.left + (at < d.at ? LATER_S : (at - d.at) / s.bytesPerS));
    }
    return least;
  };
  const originEta = (bytes: number): number =>
    Math.max(0, origin.retryAt - now) + origin.latency + bytes / origin.rate;
  const hurries = (need: number, bytes: number): boolean =>
    need <= 1.5 * originEta(bytes) + (s.expecting ? GUARD_EXPECTING_S : GUARD_S);
  const urgent = (at: number, bytes: number): boolean => hurries(left(at), bytes);

  // Peers answer in the order of asking, so what was asked before delays what was asked after.
  const ahead = new Map<string, number>();
  const etas = new Map<F, number>();
  for (const f of s.flights) {
    const peer = peers.find((p) => p.id === f.source);
    const before = ahead.get(f.source) ?? 0;
    ahead.set(f.source, before + f.to - f.from);
    if (f.source === ORIGIN) {
      const quiet = now - f.heard > Math.max(1, 4 * origin.latency);
      const wait = f.heard > f.since ? 0 : Math.max(0, origin.latency - (now - f.since));
      etas.set(f, quiet ? Infinity : wait);
    } else
      etas.set(f, !peer || peer.silent ? Infinity : peer.rtt + before / Math.max(1, peer.rate));
  }
  const etaOf = (f: F, to: number): number => {
    const rate = f.source === ORIGIN ? origin.rate : peers.find((p) => p.id === f.source)?.rate;
    return (etas.get(f) ?? 0) + Math.max(0, to - f.from) / Math.max(1, rate ?? 1);
  };

  /** The peer that would have the span here first. */
  const best = (segment: number, bytes: number, not: readonly F[]): [PeerView, number] | null => {
    let found: [PeerView, number] | null = null;
    if (s.originOnly(segment)) return null;
    for (const p of peers) {
      const busy = queued.get(p.id) ?? 0;
      const free = room.get(p.id) ?? 0;
      if (!p.has(segment) || p.silent || free <= 0 || (busy > 0 && free < bytes)) continue;
      if (not.some((f) => f.source === p.id)) continue;
      const eta = p.rtt + (busy + bytes) / Math.max(1, p.rate);
      if (!found || eta < found[1] || (eta === found[1] && random() < 0.5)) found = [p, eta];
    }
    return found;
  };
  const askPeer = (peer: PeerView, span: Span): void => {
    const bytes = span[1] - span[0];
    queued.set(peer.id, (queued.get(peer.id) ?? 0) + bytes);
    room.set(peer.id, (room.get(peer.id) ?? 0) - bytes);
    flying.push(span);
    actions.push({ do: "peer", peer: peer.id, span });
  };
  /** Who has it, gives and is not hopelessly slow: what others have is as good as not there. */
  const holders = (segment: number): number => {
    const most = Math.max(SOON_S, left(segment * segmentBytes));
    return peers.filter(
      (p) =>
        p.has(segment) &&
        !p.silent &&
        !p.refuses &&
        p.rtt + segmentBytes / Math.max(1, p.rate) <= most,
    ).length;
  };
  const myTurn = (segment: number): number =>
    rank(
      Math.floor(segment / perGroup),
      s.me,
      peers.filter((p) => !p.has(segment)).map((p) => p.id),
    );
  const sinceWhen = (key: number | string): number => {
    if (!s.since.has(key)) s.since.set(key, now);
    return now - (s.since.get(key) ?? now);
  };
  /** When a segment that a peer fetches from the origin could be here by way of that peer. */
  const claimEta = (segment: number): number => {
    let eta = Infinity;
    const most = 2 * originEta(segmentBytes) + 1;
    for (const p of peers) {
      const claim = doubted.has(p.id) ? null : p.claim(segment);
      if (!claim || p.silent) continue;
      // Whatever it tells of others: this one it has not brought, however often it claims it.
      if (sinceWhen([segment, p.id].join()) > 2 * most) doubted.add(p.id);
      // Without progress for so long its maker has failed.
      if (claim.age > most || doubted.has(p.id)) continue;
      const fetched = Math.max(0, originEta(segmentBytes * (claim.ahead + 1)) - claim.age);
      eta = Math.min(eta, fetched + RELAY_S + p.rtt + segmentBytes / Math.max(1, p.rate));
    }
    return eta;
  };

  /** Whether I fetch for the swarm what nobody holds: in turn, and only when nobody else does. */
  const entitled = (segment: number): boolean => {
    const idle = !s.expecting && (lone || !s.starving);
    if (!idle || segment > frontier || holders(segment)) return false;
    const waited = sinceWhen(segment);
    return claimEta(segment) === Infinity && waited >= myTurn(segment) * TURN_S;
  };
  /** Segments before this one that others fetch from the origin and nobody holds yet. */
  const coming = (segment: number): number =>
    [...wanted.keys()].filter((g) => g < segment && claimEta(g) < Infinity && !holders(g)).length;
  /** The same in a hurry: only long enough to hear of each other, when that helps. */
  const mayHurry = (segment: number, bytes: number, need: number): boolean => {
    if (!peers.length || holders(segment)) return true;
    const eta = claimEta(segment);
    // Where the origin is the bottleneck, asking it twice makes everybody later, and so does
    // asking for what comes after that which it is still sending to others.
    const scarce = origin.rate < SCARCE * s.bytesPerS;
    if (scarce && (eta < Infinity || coming(segment) >= ENOUGH_COMING)) return false;
    if (eta <= Math.max(0.8 * need, originEta(bytes) + PATIENCE_S)) return false;
    // Minus, to be told from the segment's other entry.
    const turn = Math.min(URGENT_WAIT_S, myTurn(segment) * URGENT_TURN_S);
    return sinceWhen(-1 - segment) >= turn;
  };

  /**
   * Own requests side by side only take each other's bandwidth: one goes out when those for
   * earlier bytes have their last bytes on the way.
   */
  const busy = s.flights.filter(
    (f) =>
      f.source === ORIGIN &&
      etas.get(f) !== Infinity &&
      (f.heard === f.since || (f.to - f.from) / origin.rate > origin.latency),
  );
  const blocked = (from: number, bulk: boolean): boolean =>
    now < origin.retryAt ||
    asked > 0 ||
    busy.some((f) => bulk || (f.from <= from && from - f.to < SAME_PLACE_S * s.bytesPerS));
  let asked = 0;
  const askOrigin = (from: number, to: number, cause: Cause, bulk: boolean): void => {
    if (blocked(from, bulk)) return;
    const run = lone
      ? Math.min(LONE_RUN, Math.max(SHARED_RUN, origin.rate * LONE_RUN_S))
      : s.starving
        ? s.startRun
        : Math.max(segmentBytes, Math.min(SHARED_RUN, origin.rate * SHARED_RUN_S));
    const whole = run < segmentBytes ? run : Math.floor(run / segmentBytes) * segmentBytes;
    const most = Math.min(s.size, from - (run < segmentBytes ? 0 : from % segmentBytes) + whole);
    let stop = Math.min(to, most);
    // Go on over what follows, in one request, as long as the same reason holds there.
    for (let seg = Math.ceil(stop / segmentBytes); stop < most; seg++) {
      const next = Math.min(s.size, stop + segmentBytes);
      const empty = s.gaps(seg).some(([a, b]) => a === stop && b === next);
      if (!empty || subtract([stop, next], flying)[0]?.[0] !== stop) break;
      if (bulk || lone ? left(stop) > s.originHorizon : !urgent(stop, segmentBytes)) break;
      if (bulk && !lone && !entitled(seg)) break;
      if (!bulk && !lone && best(seg, segmentBytes, [])) break;
      stop = Math.min(next, most);
    }
    flying.push([from, stop]);
    asked++;
    actions.push({ do: "origin", span: [from, stop], cause, bulk });
  };

  /** `at` is the byte of the segment that is needed first: nothing of it plays before all is checked. */
  const consider = (segment: number, span: Span, at: number): void => {
    const [from, to] = span;
    const bytes = to - from;
    // What comes before that byte is in no hurry while all that follows is on its way, but belongs
    // to what is near: until it is here, nothing of what peers sent is checked.
    const near = left(at);
    const rest = (gaps.get(segment) ?? []).some(([, b]) => b > at);
    const need = rest ? left(Math.min(from, at)) : near;
    const hurry = hurries(need, Math.min(bytes, SHARED_RUN));
    const cover = s.flights.filter((f) => f.from < to && end(f) > from);
    const open = subtract(span, flying);
    for (const [a, b] of open) {
      const found = near <= s.peerHorizon ? best(segment, b - a, []) : null;
      const limit = Math.max(0.7 * need, originEta(b - a) + PATIENCE_S);
      const soon = found && (hurry ? found[1] <= limit : found[1] <= Math.max(need, SOON_S));
      if (found && (soon || origin.retryAt > now)) askPeer(found[0], [a, b]);
      else if (hurry) {
        if (!found && !mayHurry(segment, b - a, need)) continue;
        const held = holders(segment) > 0;
        const cause = s.originOnly(segment)
          ? "rejected"
          : s.fresh
            ? "first"
            : found
              ? "deadline"
              : held
                ? "busy"
                : peers.length || s.expecting
                  ? "urgent"
                  : "no-peer";
        askOrigin(a, b, cause, false);
      } else if (s.originOnly(segment)) {
        askOrigin(a, b, "rejected", true);
      } else if (near <= s.originHorizon && entitled(segment)) {
        askOrigin(a, b, peers.length ? "seed" : "no-peer", true);
      }
    }
    if (!cover.length || open[0]?.[0] === from) return;
    // On its way, but soon enough?
    const eta = Math.min(...cover.map((f) => etaOf(f, to)));
    const fromOrigin = cover.some((f) => f.source === ORIGIN);
    if (eta > 0.8 * need && eta > originEta(bytes) + PATIENCE_S) {
      const other = best(segment, bytes, cover);
      if (other && other[1] < 0.5 * eta && (!hurry || fromOrigin || other[1] < 0.7 * need)) {
        askPeer(other[0], span);
      } else if (hurry && !fromOrigin) {
        askOrigin(from, to, eta === Infinity ? "timeout" : "deadline", false);
      }
    }
  };

  // What is wanted, each with the byte needed first, in the order of need.
  const horizon = Math.max(s.peerHorizon, s.originHorizon);
  const wanted = new Map<number, number>();
  const gaps = new Map<number, readonly Span[]>();
  for (const d of s.demands) {
    const reach = Math.min(d.end, d.at + Math.max(0, horizon - d.left) * s.bytesPerS + 1);
    const last = Math.min(segments - 1, Math.floor((reach - 1) / segmentBytes));
    const first = Math.floor(d.at / segmentBytes);
    for (let seg = first; seg <= last && wanted.size < MAX_WANTED; seg++) {
      const at = Math.max(d.at, seg * segmentBytes);
      const missing = gaps.get(seg) ?? s.gaps(seg);
      gaps.set(seg, missing);
      if (missing.length) wanted.set(seg, Math.min(at, wanted.get(seg) ?? at));
    }
  }
  for (const key of s.since.keys()) {
    const seg = parseInt(key as string);
    if (!wanted.has(seg < 0 ? -1 - seg : seg)) s.since.delete(key);
  }
  for (const seg of wanted.keys()) if (seg < frontier && !holders(seg)) frontier = seg;
  frontier += Math.max(1, (FRONTIER_S * origin.rate) / segmentBytes);

  // What the origin was to send later and peers now have, or are fetching: not from the origin.
  for (const f of s.flights) {
    if (f.source !== ORIGIN) continue;
    if (left(f.from) === Infinity) {
      // Nobody reads there any more (a seek).
      trim(f, f.from);
      continue;
    }
    // From the end backwards: a cut only pays where nearly all that follows is superfluous.
    const last = Math.ceil(f.to / segmentBytes) - 1;
    let cut = f.to;
    let spare = 0;
    for (let seg = last; seg * segmentBytes > f.from; seg--) {
      const at = seg * segmentBytes;
      const found = best(seg, segmentBytes, []);
      const theirs = f.bulk && claimEta(seg) < Infinity && myTurn(seg) > 0 && !holders(seg);
      if (urgent(at, segmentBytes) || !((found && found[1] < 0.7 * left(at)) || theirs)) continue;
      if (++spare >= 0.75 * (last - seg + 1)) cut = at;
    }
    if (cut < f.to) trim(f, cut);
  }
  for (const f of s.flights) flying.push([f.from, end(f)]);

  const order = [...wanted].map(([seg, at]) => {
    const need = left(at);
    return need <= IN_ORDER_S
      ? { seg, at, tier: 0, key: need }
      : { seg, at, tier: 1 + holders(seg), key: peers.length ? hash(seg, s.me) : need };
  });
  // A segment that nobody holds is fetched in playing order by whoever it is.
  for (const o of order) if (o.tier === 1) o.key = left(o.at);
  order.sort((a, b) => a.tier - b.tier || a.key - b.key);
  for (const { seg, at } of order) {
    for (const [a, b] of gaps.get(seg) ?? []) {
      if (a < at && at < b) {
        // The player entered in mid-segment: its part first, the rest for the check and for others.
        consider(seg, [at, b], at);
        if (peers.length) consider(seg, [a, at], at);
      } else if (b > at || peers.length) consider(seg, [a, b], at);
    }
  }
  for (const id of doubted) actions.push({ do: "doubt", peer: id });
  return actions;
}
