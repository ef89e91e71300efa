/** One content: its readers, its segments in the making, and what the scheduler decides for it. */
import type { Content, ContentStats, Playback } from "../engine";
import { Assembly, ORIGIN, type Source, type Span } from "./assembly";
import { Bits, runsOf } from "./bits";
import { needs, type Need, type Read } from "./clock";
import type { Link, PeerFlight, Shared } from "./link";
import type { Manifest } from "./manifest";
import { Origin, OriginFlight, type Sink } from "./origin";
import { decide, type PeerView } from "./scheduler";
import type { Shelf, Store } from "./store";
import { Hashes } from "./verify";
import { CLAIM, HAVE, LEAVE, UNHAVE, type Run } from "./wire";

/** What a content needs of the engine around it. */
export interface Env {
  readonly me: string;
  readonly store: Store;
  readonly fetch: typeof globalThis.fetch;
  readonly subtle: Pick<SubtleCrypto, "digest">;
  now(): number;
  random(): number;
  links(): Iterable<Link>;
  /** Peers may turn up any moment. */
  expecting(content: SwarmContent): boolean;
  /** Why there are no peers, by the names of p2pcdn/stats/causes.py. */
  loneCause(content: SwarmContent): string;
  saveData(): boolean;
  /** These peers sent wrong bytes. */
  blame(content: SwarmContent, ids: Iterable<string>): void;
  /** The origin's bytes are no longer the manifest's. */
  stale(content: SwarmContent): void;
}

const START_RUN = 65536;
const MAX_START_RUN = 2097152;
/** With links in the making the origin gives no more than the first steps for that long. */
const STEPS_S = 0.5;
/** How far ahead of the player bytes are fetched, from peers and from the origin. */
const PEER_HORIZON_S = 120;
const ORIGIN_HORIZON_S = 60;
/** Where peers are known to be there, and no link to one is open: it may be at any moment. */
const LINKLESS_HORIZON_S = 20;
const PAUSED_HORIZON_S = 20;
const SAVING_HORIZON_S = 10;
const LONG_PAUSE_S = 60;
/**
 * What has just begun to play is fetched so many seconds ahead, once it has played for two a second
 * more with each, and after six more with the square of the seconds since: a crowd has other work
 * in its first moments, those who come just then wait for their first frame, and who leaves soon
 * was given little in vain. And one segment, which may be long: all of it has to be here before its
 * first byte is played.
 */
const FIRST_HORIZON_S = 1.5;
const EARLY_HORIZON_S = 4;
const EARLY_S = 6;
const EARLY_GROWTH_S = 20;
/** Segments that a source should have. */
const WANTED = 32;
const RECLAIM_S = 2;
/** So near to a reader unfinished segments are kept: a player that jumps about comes back. */
const KEPT_BYTES = 8 * 1024 * 1024;
const GATHER_MS = 30;
const HINT_MS = 20;

export class SwarmContent implements Content, Shared, Shelf, Sink {
  readonly key: string;
  readonly size: number;
  readonly type: string;
  readonly segmentBytes: number;
  readonly held: Bits;
  token: string;
  expires: number;
  readonly openedAt: number;
  hides: ((from: Link) => boolean) | undefined;
  /** Bytes that came from the persistent part of the store. */
  fromCache = 0;
  /** By whose name its peers are found: that of its presentation, which is its own. */
  group: SwarmContent | undefined;
  /** Plays the origin's bytes as they are: they are not the manifest's any more. */
  direct = false;
  /** News for the coordinator since it was last told. */
  readonly gained = new Set<number>();
  readonly lost = new Set<number>();

  private readonly hashes: Hashes;
  readonly origin: Origin;
  private readonly making = new Map<number, Assembly>();
  private readonly causes = new Map<Assembly, string>();
  private readonly failures = new Map<number, number>();
  private readonly reads: Read[] = [];
  private readonly playbacks = new Map<Playback, { began: boolean; stalled: boolean }>();
  private readonly since = new Map<number | string, number>();
  private readonly listeners = new Set<() => void>();
  private readonly counts = { peers: 0, origin: 0, uploaded: 0, rejected: 0, stalls: 0 };
  private readonly byCause: Record<string, number> = {};
  private readonly have = new Set<number>();
  private readonly unhave = new Set<number>();
  private telling = false;
  private resume = 0;
  private began = false;
  private startRun = START_RUN;
  private starvingSince = -Infinity;
  private playingAt = 0;
  private playsSince: number | undefined;
  private claimedAt = 0;
  private poked = false;
  private hinted: ReturnType<typeof setTimeout> | undefined;
  private closed = false;

  constructor(
    public url: string,
    readonly number: number,
    readonly manifest: Manifest,
    private readonly env: Env,
  ) {
    const { size, segmentBytes, hashes } = manifest;
    ({ key: this.key, type: this.type, token: this.token, expires: this.expires } = manifest);
    [this.size, this.segmentBytes] = [size, segmentBytes];
    this.held = new Bits(Math.ceil(size / segmentBytes));
    this.hashes = new Hashes(hashes, env.subtle);
    this.origin = new Origin(
      () => this.url,
      size,
      this,
      env.fetch,
      () => env.now(),
    );
    this.openedAt = this.playingAt = env.now();
  }

  // --- the page's side ----------------------------------------------------------------------

  async *read(start: number, end: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const read: Read = { at: start, end: Math.min(end, this.size), waiting: null };
    this.reads.push(read);
    const wake = (): void => {
      this.tell();
    };
    signal.addEventListener("abort", wake);
    try {
      while (read.at < read.end) {
        signal.throwIfAborted();
        const piece = this.available(read.at, read.end);
        if (piece) {
          read.waiting = null;
          read.at += piece.length;
          this.resume = read.at;
          if (!this.playbacks.size) this.began = true;
          yield piece;
        } else if (this.closed) {
          throw new Error("p2pcdn: closed");
        } else if (this.direct) {
          for await (const bytes of this.origin.direct(read.at, read.end, signal)) {
            read.at += bytes.length;
            this.counts.origin += bytes.length;
            yield bytes;
          }
        } else {
          const segment = this.segmentAt(read.at);
          if (this.origin.failed && !this.held.has(segment) && !this.offered(segment)) {
            this.origin.forgive();
            throw new Error(`p2pcdn: neither peers nor the origin have ${this.url}`);
          }
          read.waiting ??= this.env.now();
          this.poke();
          await new Promise<void>((done) => this.listeners.add(done));
        }
      }
    } finally {
      signal.removeEventListener("abort", wake);
      this.reads.splice(this.reads.indexOf(read), 1);
      this.poke();
    }
  }

  attach(playback: Playback): () => void {
    this.playbacks.set(playback, { began: false, stalled: false });
    this.poke();
    return () => {
      this.playbacks.delete(playback);
      this.poke();
    };
  }

  stats(): ContentStats {
    const { counts, url, key, size, fromCache } = this;
    return {
      url,
      key,
      size,
      segments: this.held.size,
      held: this.held.count,
      peers: this.peers().length,
      fromPeers: counts.peers,
      fromOrigin: counts.origin,
      fromCache,
      uploaded: counts.uploaded,
      rejected: counts.rejected,
      stalls: counts.stalls,
      causes: { ...this.byCause },
    };
  }

  // --- the links' side ----------------------------------------------------------------------

  bytes(segment: number, then?: () => void): Uint8Array | null {
    return this.env.store.get(this, segment, then);
  }

  claims(): Run[] {
    const claimed = new Set<number>();
    for (const f of this.origin.flights)
      for (let s = this.segmentAt(f.from); s * this.segmentBytes < f.to; s++)
        if (!this.held.has(s)) claimed.add(s);
    return runsOf(claimed);
  }

  uploadedBytes(bytes: number): void {
    this.counts.uploaded += bytes;
  }

  /** What is needed next. */
  get want(): Run[] {
    const first = Math.min(this.segmentAt(this.resume), this.held.size - 1);
    return [[first, Math.min(WANTED, this.held.size - first)]];
  }

  /** Others have news: decides anew, soon, for all that comes by then. */
  hint(): void {
    this.hinted ??= setTimeout(() => {
      this.hinted = undefined;
      this.poke();
    }, HINT_MS);
  }

  /** Decides anew, once, when what is going on now is done. */
  poke(): void {
    if (this.poked) return;
    this.poked = true;
    queueMicrotask(() => {
      this.poked = false;
      this.pump();
    });
  }

  received(flight: PeerFlight, bytes: Uint8Array): void;
  received(at: number, bytes: Uint8Array, flight: OriginFlight): void;
  received(from: PeerFlight | number, bytes: Uint8Array, flight?: OriginFlight): void {
    if (typeof from === "number") this.write(from, bytes, ORIGIN, flight?.cause);
    else this.write(from.from - bytes.length, bytes, from.source);
  }

  /** What the origin has sent without being asked by us: its player goes on from there. */
  begun(bytes: Uint8Array, at: number, took?: number): void {
    if (took) this.origin.gave(bytes.length, took);
    if (!this.reads.length) this.resume = at + bytes.length;
    this.write(at, bytes, ORIGIN, at ? "no-peer" : "first");
    this.poke();
  }

  landed(): void {
    this.tell();
    this.poke();
  }

  // --- the store's side ---------------------------------------------------------------------

  distance(segment: number): number {
    const at = segment * this.segmentBytes;
    if (this.idle) return Infinity;
    // What was played is worth less than what will be.
    const far = [...this.reads.map((r) => r.at), this.resume].map((c) =>
      at >= c ? at - c : 2 * (c - at),
    );
    return Math.min(...far);
  }

  evicted(segment: number): void {
    this.held.put(segment, false);
    this.gained.delete(segment);
    this.lost.add(segment);
    this.have.delete(segment);
    this.unhave.add(segment);
    this.gather();
  }

  // --- time ---------------------------------------------------------------------------------

  /** Called several times a second. */
  tick(): void {
    const now = this.env.now();
    this.origin.tick();
    for (const [p, state] of this.playbacks) {
      const ready = p.readyState >= 3;
      if (ready) state.began = this.began = true;
      const stalled = state.began && !ready && !p.paused && !p.seeking && !p.ended;
      if (stalled && !state.stalled) this.counts.stalls++;
      state.stalled = stalled;
    }
    if (this.origin.flights.size && now - this.claimedAt > RECLAIM_S) this.claim();
    this.sweep();
    if (!this.idle || this.origin.flights.size) this.poke();
  }

  /** Drops what a player began and left: it is in no store, so no ceiling holds for it. */
  private sweep(): void {
    if (!this.making.size) return;
    const flights = this.flights();
    const places = [this.resume, ...this.reads.map((r) => r.at)];
    for (const [segment, making] of this.making) {
      const [from, to] = this.span(segment);
      if (making.checking || flights.some((f) => f.from < to && f.to > from)) continue;
      if (places.some((at) => Math.abs(at - from) < KEPT_BYTES)) continue;
      this.making.delete(segment);
      this.causes.delete(making);
    }
  }

  get idle(): boolean {
    return !this.reads.length && !this.playbacks.size;
  }

  close(): void {
    this.closed = true;
    this.origin.close();
    this.leave();
    this.env.store.drop(this);
    this.tell();
  }

  private leave(): void {
    for (const link of this.env.links()) {
      for (const f of link.flights.values()) if (f.content === this) link.cancel(f);
      link.say({ type: LEAVE, c: this.number });
    }
  }

  // --- segments -----------------------------------------------------------------------------

  private segmentAt(at: number): number {
    return Math.floor(at / this.segmentBytes);
  }

  private span(segment: number): Span {
    const from = segment * this.segmentBytes;
    return [from, Math.min(this.size, from + this.segmentBytes)];
  }

  private gaps(segment: number): readonly Span[] {
    if (this.held.has(segment)) return [];
    const making = this.making.get(segment);
    const [from, to] = this.span(segment);
    return making ? making.gaps().map(([a, b]) => [from + a, from + b] as const) : [[from, to]];
  }

  /** Bytes that may be handed out: verified ones, and the origin's own as they come. */
  private available(at: number, end: number): Uint8Array | null {
    const segment = this.segmentAt(at);
    const [from] = this.span(segment);
    const verified = this.held.has(segment) ? this.bytes(segment) : null;
    if (verified) return verified.subarray(at - from, end - from);
    const making = this.making.get(segment);
    if (!making) return null;
    const to = making.trustedTo(at - from);
    return to > at - from ? making.data.subarray(at - from, Math.min(to, end - from)) : null;
  }

  private write(at: number, bytes: Uint8Array, source: Source, cause?: string): void {
    if (this.closed || this.direct) return;
    while (bytes.length && at < this.size) {
      const segment = this.segmentAt(at);
      const [from, to] = this.span(segment);
      const part = bytes.subarray(0, to - at);
      if (!this.held.has(segment)) {
        let making = this.making.get(segment);
        if (!making) this.making.set(segment, (making = new Assembly(to - from)));
        if (source === ORIGIN || !making.originOnly) {
          const fresh = making.add(at - from, part, source);
          if (fresh && cause && !this.causes.has(making)) this.causes.set(making, cause);
          if (!making.checking && !making.gaps().length) void this.check(segment, making);
        }
      }
      at += part.length;
      bytes = bytes.subarray(part.length);
    }
    if (source === ORIGIN) this.tell();
  }

  private async check(segment: number, making: Assembly): Promise<void> {
    making.checking = true;
    const fits = await this.hashes.fits(segment, making.data);
    making.checking = false;
    if (this.closed || this.direct || this.making.get(segment) !== making) return;
    const shares = making.shares();
    const own = shares.get(ORIGIN) ?? 0;
    if (fits) {
      this.counts.origin += own;
      this.counts.peers += making.data.length - own;
      const cause = this.causes.get(making);
      if (own && cause) {
        this.byCause[cause] = (this.byCause[cause] ?? 0) + 1;
      }
      const liars = making.liars();
      if (liars.size) this.env.blame(this, liars);
      this.hold(segment, making.data);
    } else if (own === making.data.length) {
      this.changed();
      return;
    } else {
      const failures = (this.failures.get(segment) ?? 0) + 1;
      this.failures.set(segment, failures);
      this.counts.rejected += making.data.length - own;
      making.distrust();
      // One source for all of it is to blame for sure; of several, the truth will tell which.
      if (shares.size === 1) this.env.blame(this, shares.keys());
      making.originOnly = shares.size > 1 || failures > 1;
      if (making.originOnly) this.cancel(segment);
    }
    this.tell();
    this.poke();
  }

  /** A segment is verified, or on the disk, where it is verified when it is read. */
  hold(segment: number, data?: Uint8Array): void {
    const making = this.making.get(segment);
    if (making) this.causes.delete(making);
    this.making.delete(segment);
    this.failures.delete(segment);
    this.held.put(segment, true);
    this.lost.delete(segment);
    this.gained.add(segment);
    this.unhave.delete(segment);
    this.have.add(segment);
    if (data) this.env.store.put(this, segment, data);
    this.cancel(segment);
    for (const f of this.origin.flights) {
      let s = this.segmentAt(f.from);
      while (s * this.segmentBytes < f.to && this.held.has(s)) s++;
      if (s * this.segmentBytes >= f.to) this.origin.trim(f, f.from);
    }
    this.gather();
  }

  /** Whoever still sends this one need not. */
  private cancel(segment: number): void {
    for (const link of this.env.links())
      for (const f of link.flights.values())
        if (f.content === this && f.segment === segment) link.cancel(f);
  }

  /** The origin has other bytes than the manifest's. */
  changed(): void {
    if (this.direct) return;
    this.direct = true;
    this.origin.close();
    this.leave();
    this.making.clear();
    this.env.stale(this);
    this.tell();
  }

  private tell(): void {
    const listeners = [...this.listeners];
    this.listeners.clear();
    for (const listener of listeners) listener();
  }

  // --- what others hear ---------------------------------------------------------------------

  private *joined(): Generator<Link> {
    for (const link of this.env.links()) if (link.remote(this.key)) yield link;
  }

  private gather(): void {
    if (this.telling) return;
    this.telling = true;
    setTimeout(() => {
      this.telling = false;
      const news = [
        [HAVE, runsOf(this.have)],
        [UNHAVE, runsOf(this.unhave)],
      ] as const;
      this.have.clear();
      this.unhave.clear();
      if (this.closed || this.direct) return;
      for (const link of this.env.links())
        for (const [type, runs] of news) if (runs.length) link.say({ type, c: this.number, runs });
    }, GATHER_MS);
  }

  private claim(): void {
    this.claimedAt = this.env.now();
    const runs = this.claims();
    if (runs.length)
      for (const link of this.joined()) link.say({ type: CLAIM, c: this.number, runs });
  }

  // --- decisions ----------------------------------------------------------------------------

  private peers(): PeerView[] {
    const views: PeerView[] = [];
    for (const link of this.env.links()) {
      const remote = link.remote(this.key);
      if (!remote || !link.uploads) continue;
      views.push({
        id: link.id,
        has: (s) => remote.has.has(s),
        claim: (s) => {
          const claim = remote.claims.get(s);
          if (!claim || link.doubted) return null;
          const ahead = [...remote.claims.keys()].filter((other) => other < s).length;
          return { age: this.env.now() - Math.max(claim.since, remote.progressAt), ahead };
        },
        rtt: link.rtt ?? 0.1,
        rate: link.rate,
        queued: link.queued,
        room: link.room(this.segmentBytes),
        silent: link.silent,
        refuses: link.refuses,
      });
    }
    return views;
  }

  private offered(segment: number): boolean {
    return this.peers().some((p) => p.has(segment) && !p.silent && !p.refuses);
  }

  private horizons(
    { bytesPerS, playing }: Need,
    linked: number,
    expecting: boolean,
  ): [number, number] {
    const now = this.env.now();
    if (playing) this.playingAt = now;
    if (this.env.saveData()) return [SAVING_HORIZON_S, SAVING_HORIZON_S];
    if (now - this.playingAt > LONG_PAUSE_S) return [0, 0];
    const memory = (0.5 * this.env.store.limit) / bytesPerS;
    if (playing) this.playsSince ??= now;
    // One file of many is small, and its player has a measure of its own. Where there is nobody,
    // nobody is kept busy.
    const plays = now - (this.playsSince ?? -Infinity);
    const early =
      this.group || !(linked || expecting)
        ? Infinity
        : Math.min(EARLY_HORIZON_S, Math.max(FIRST_HORIZON_S, plays - 0.5)) +
          Math.max(0, plays - EARLY_S) ** 2 / EARLY_GROWTH_S +
          this.segmentBytes / bytesPerS;
    const most = playing || !this.playbacks.size ? early : PAUSED_HORIZON_S;
    const linkless = !linked && this.env.loneCause(this) === "no-link";
    const origin = linkless ? LINKLESS_HORIZON_S : ORIGIN_HORIZON_S;
    return [Math.min(PEER_HORIZON_S, memory, most), Math.min(origin, memory, most)];
  }

  private flights(): (OriginFlight | PeerFlight)[] {
    const flights: (OriginFlight | PeerFlight)[] = [...this.origin.flights];
    for (const link of this.env.links())
      for (const f of link.flights.values()) if (f.content === this) flights.push(f);
    return flights;
  }

  private pump(): void {
    if (this.closed || this.direct || this.held.count === this.held.size) return;
    const now = this.env.now();
    const need = needs(this.size, this.reads, this.resume, [...this.playbacks.keys()], now);
    const peers = [...this.peers(), ...(this.env.store.disk?.tabs(this) ?? [])];
    const expecting = this.env.expecting(this);
    const [peerHorizon, originHorizon] = this.horizons(need, peers.length, expecting);
    if (!need.starving) {
      this.startRun = START_RUN;
      this.starvingSince = now;
    } else if (this.starvingSince === -Infinity) this.starvingSince = now;
    const { latency, rate, retryAt } = this.origin;
    const actions = decide(
      {
        me: this.env.me,
        size: this.size,
        segmentBytes: this.segmentBytes,
        demands: need.demands,
        bytesPerS: need.bytesPerS,
        peers,
        flights: this.flights(),
        gaps: (s) => this.gaps(s),
        originOnly: (s) => this.making.get(s)?.originOnly ?? false,
        origin: { latency, rate, retryAt },
        expecting,
        starving: need.starving,
        fresh: !this.began,
        startRun: this.startRun,
        peerHorizon,
        originHorizon,
        since: this.since,
      },
      now,
      () => this.env.random(),
    );
    let claiming = false;
    for (const action of actions) {
      if (action.do === "trim") {
        if (action.flight instanceof OriginFlight) this.origin.trim(action.flight, action.to);
      } else if (action.do !== "origin") {
        for (const link of this.env.links())
          if (link.id !== action.peer) continue;
          else if (action.do === "peer") link.request(this, action.span);
          else link.doubted = true;
      } else {
        claiming = true;
        const cause = action.cause === "no-peer" ? this.env.loneCause(this) : action.cause;
        this.origin.open(action.span, cause, action.bulk);
        // Small steps while peers may come any moment, longer ones when they do not.
        if (!action.bulk && need.starving && (!expecting || now - this.starvingSince > STEPS_S))
          this.startRun = Math.min(MAX_START_RUN, 2 * this.startRun);
      }
    }
    if (claiming) this.claim();
    if (this.origin.sequential) {
      const reach = (originHorizon + 1) * need.bytesPerS;
      const ahead = need.demands.map((d) => (d.left < originHorizon ? d.at + reach : d.at));
      this.origin.resume(Math.max(0, ...ahead));
    }
  }
}
