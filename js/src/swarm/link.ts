/** The protocol over one open data channel: what a peer holds, asks and sends. */
import { Bits } from "./bits";
import type { Span } from "./assembly";
import type { Flight } from "./scheduler";
import type { Order, Outlet } from "./uploader";
import * as wire from "./wire";
import type { Message, Run } from "./wire";

/** What a link needs of an RTCDataChannel. */
export interface Channel {
  readonly bufferedAmount: number;
  readonly readyState: string;
  send(data: ArrayBuffer): void;
}

/** A content of ours, as links see it. */
export interface Shared {
  /** Our number for it on the wire. */
  readonly number: number;
  readonly key: string;
  readonly size: number;
  readonly segmentBytes: number;
  readonly held: Bits;
  /** Whether a peer shall not hear (again) that it is here: it was watched on another page. */
  readonly hides: ((from: Link) => boolean) | undefined;
  /** The verified bytes, where they are held; null and `then` called later: not in memory yet. */
  bytes(segment: number, then?: () => void): Uint8Array | null;
  /** Segments that we fetch from the origin right now. */
  claims(): Run[];
  /** Something about a peer of this content changed: reconsider, now or soon. */
  poke(): void;
  hint(): void;
  received(flight: PeerFlight, bytes: Uint8Array): void;
  uploadedBytes(bytes: number): void;
}

export interface Host {
  now(): number;
  /** Open contents of ours. */
  readonly contents: ReadonlyMap<string, Shared>;
  /** Whether this visitor uploads at all. */
  mayUpload(): boolean;
  uploadCap(): number;
  /** Whether so many bytes more can be sent soon. */
  inTime(bytes: number): boolean;
  /** There are orders. */
  serve(): void;
  /** The peer names others that have a content. */
  heardOf(namer: string, key: string, ids: string[]): void;
  /** It broke the protocol or the connection is lost: end it. */
  ended(link: Link, hostile: boolean): void;
}

/** A peer's side of one content. */
export interface Remote {
  readonly key: string;
  readonly has: Bits;
  /** Segment -> when it was first claimed, and until when that is believed. */
  readonly claims: Map<number, { since: number; until: number }>;
  /** Last HAVE of what it had claimed. */
  progressAt: number;
}

export class PeerFlight implements Flight {
  readonly bulk = false;
  heard: number;
  constructor(
    readonly source: string,
    readonly content: Shared,
    readonly segment: number,
    public from: number,
    readonly to: number,
    readonly since: number,
    /** When it should be here, by what is known of the peer. */
    readonly due: number,
  ) {
    this.heard = since;
  }
}

type Request = Extract<Message, { type: typeof wire.REQUEST }>;

const MAX_ORDERS = 256;
/** A presentation's segments are a content each. */
const MAX_JOINS = 512;
const MAX_JOINED_SEGMENTS = 1 << 23;
/** Messages a second, and in one go, before a peer counts as flooding. */
const CALM_PER_S = 300;
const BURST = 3000;
const CLAIM_S = 5;
/** Who is busy is left alone for 0.5 s, then for twice as long each time, up to this. */
const BUSIEST_S = 4;
/** Many who share a slow uplink wait for their turn that long, and get it. */
const REFUSES_S = 30;
const PING_S = 4;
const DEAD_S = 16;

export class Link implements Outlet {
  readonly remotes = new Map<number, Remote>();
  readonly flights = new Map<number, PeerFlight>();
  readonly orders: Order[] = [];
  rtt: number | null = null;
  /** Bytes per second it was seen to deliver; a guess until then. */
  rate = 500_000;
  received = 0;
  sent = 0;
  /** Failed or late answers; good ones make up for them. */
  strikes = 0;
  busyUntil = 0;
  uploads = true;
  /** What it claimed it did not bring: its claims count for nothing until it delivers. */
  doubted = false;
  readonly openedAt: number;
  /** When content last went over it, either way; or `openedAt`. */
  usedAt: number;
  /** Whether we have said that we upload. */
  private gives = false;
  private busyFor = 0.25;
  private rid = 0;
  private heardAt: number;
  private dataAt = 0;
  private gaveAt: number;
  private pings = new Map<number, number>();
  private pingedAt = -Infinity;
  private budget = BURST;
  private budgetAt: number;
  /** Bytes that may still come for what we cancelled. */
  private forgiven = 0;
  private markAt = 0;
  private markBytes = 0;
  /** Requests for what is still read from the disk. */
  private awaited = 0;
  private over = false;

  constructor(
    readonly id: string,
    private readonly channel: Channel,
    private readonly host: Host,
  ) {
    this.openedAt = this.usedAt = this.heardAt = this.budgetAt = this.gaveAt = host.now();
    this.greet();
    for (const content of host.contents.values()) this.join(content);
    this.tick();
  }

  // --- talking ------------------------------------------------------------------------------

  backlog(): number {
    return this.channel.bufferedAmount;
  }

  send(message: Uint8Array<ArrayBuffer>): boolean {
    try {
      if (this.over || this.channel.readyState !== "open") return false;
      this.channel.send(message.buffer);
      return true;
    } catch {
      this.end(false);
      return false;
    }
  }

  say(message: Message): void {
    this.send(wire.encode(message));
  }

  private greet(): void {
    const upload = (this.gives = this.host.mayUpload());
    const capKiB = upload ? Math.min(2 ** 32 - 1, Math.round(this.host.uploadCap() / 1024)) : 0;
    this.say({ type: wire.HELLO, version: 1, upload, capKiB });
  }

  join(content: Shared): void {
    const { number: c, key, held } = content;
    if (content.hides?.(this)) return;
    this.say({ type: wire.JOIN, c, key, segments: held.size, held: held.bytes });
    const runs = content.claims();
    if (runs.length) this.say({ type: wire.CLAIM, c, runs });
  }

  served(order: Order, bytes: number): void {
    this.sent += bytes;
    this.usedAt = this.host.now();
    (order as Order & { content: Shared }).content.uploadedBytes(bytes);
  }

  /** This peer's side of a content, when it is in that swarm. */
  remote(key: string): Remote | undefined {
    for (const remote of this.remotes.values()) if (remote.key === key) return remote;
    return undefined;
  }

  // --- asking -------------------------------------------------------------------------------

  get queued(): number {
    let bytes = 0;
    for (const f of this.flights.values()) bytes += f.to - f.from;
    return bytes;
  }

  /** How much may be asked on top: what keeps the pipe full for about half a second. */
  room(segmentBytes: number): number {
    if (!this.uploads || this.busyUntil > this.host.now()) return 0;
    const pipe = this.rate * ((this.rtt ?? 0.1) + 0.5);
    return Math.max(2 * segmentBytes, 131072, Math.min(4194304, pipe)) - this.queued;
  }

  /** It was too busy for four requests in a row, and has answered none for long. */
  get refuses(): boolean {
    return this.busyFor >= BUSIEST_S && this.host.now() - this.gaveAt > REFUSES_S;
  }

  get silent(): boolean {
    const [first] = this.flights.values();
    if (!first) return false;
    const since = this.host.now() - Math.max(this.dataAt, first.since);
    return since > Math.max(0.5, 4 * (this.rtt ?? 0.1), (4 * wire.MAX_DATA) / this.rate);
  }

  request(content: Shared, span: Span): void {
    const [from, to] = span;
    const { segmentBytes, number } = content;
    const segment = Math.floor(from / segmentBytes);
    const now = this.host.now();
    const due = now + (this.rtt ?? 0.1) + (this.queued + to - from) / this.rate;
    if (!this.flights.size) this.mark(now + (this.rtt ?? 0));
    this.rid = (this.rid + 1) >>> 0;
    this.flights.set(this.rid, new PeerFlight(this.id, content, segment, from, to, now, due));
    const offset = from - segment * segmentBytes;
    const length = to - from;
    this.say({ type: wire.REQUEST, c: number, rid: this.rid, segment, offset, length });
  }

  cancel(flight: PeerFlight): void {
    for (const [rid, f] of this.flights) {
      if (f !== flight) continue;
      this.flights.delete(rid);
      this.forgiven += f.to - f.from;
      this.say({ type: wire.CANCEL, rid });
    }
  }

  // --- hearing ------------------------------------------------------------------------------

  /** One frame from the channel. Whatever it is, nothing is thrown. */
  hear(data: unknown): void {
    this.attempt(() => {
      if (!(data instanceof ArrayBuffer)) throw new wire.WireError("not binary");
      this.heardAt = this.host.now();
      const message = wire.decode(new Uint8Array(data));
      if (message?.type !== wire.DATA)
        this.spend(message?.type === wire.JOIN ? Math.min(30, 4 + message.held.length / 64) : 1);
      if (message) this.take(message);
    });
  }

  /** What the peer's words lead to, now or later: where that fails it is an enemy. */
  private attempt(act: () => void): void {
    if (this.over) return;
    try {
      act();
    } catch {
      this.end(true);
    }
  }

  private need(fine: boolean): void {
    if (!fine) throw new wire.WireError("not by the protocol");
  }

  private spend(cost: number): void {
    const now = this.host.now();
    this.budget = Math.min(BURST, this.budget + (now - this.budgetAt) * CALM_PER_S) - cost;
    this.budgetAt = now;
    this.need(this.budget >= 0);
  }

  private take(m: Message): void {
    switch (m.type) {
      case wire.HELLO:
        this.need(m.version >= 1);
        this.uploads = m.upload;
        if (m.capKiB) this.rate = Math.min(this.rate, m.capKiB * 1024);
        break;
      case wire.JOIN: {
        const own = this.host.contents.get(m.key);
        this.need(!own || own.held.size === m.segments);
        this.need(this.remotes.has(m.c) || this.remotes.size < MAX_JOINS);
        let joined = m.segments;
        for (const remote of this.remotes.values()) joined += remote.has.size;
        this.need(joined <= MAX_JOINED_SEGMENTS);
        const has = new Bits(m.segments, m.held);
        this.remotes.set(m.c, { key: m.key, has, claims: new Map(), progressAt: 0 });
        for (const hidden of this.host.contents.values()) if (hidden.hides) this.join(hidden);
        own?.poke();
        break;
      }
      case wire.HAVE:
      case wire.UNHAVE:
      case wire.CLAIM: {
        const remote = this.remotes.get(m.c);
        if (!remote) break;
        const now = this.host.now();
        const own = this.host.contents.get(remote.key);
        let news = m.type === wire.UNHAVE;
        for (const [first, count] of m.runs) {
          this.need(first + count <= remote.has.size);
          this.spend(count / 64);
          for (let s = first; s < first + count; s++) {
            news ||= !own?.held.has(s);
            if (m.type === wire.CLAIM) {
              const since = remote.claims.get(s)?.since ?? now;
              remote.claims.set(s, { since, until: now + CLAIM_S });
            } else {
              const fresh = remote.has.put(s, m.type === wire.HAVE);
              if (m.type === wire.HAVE && remote.claims.delete(s) && fresh) remote.progressAt = now;
            }
          }
        }
        if (news) own?.hint();
        break;
      }
      case wire.REQUEST:
        this.order(this.host.contents.get(this.remotes.get(m.c)?.key ?? ""), m);
        break;
      case wire.DATA:
        this.data(m.rid, m.offset, m.bytes);
        break;
      case wire.REJECT: {
        const flight = this.flights.get(m.rid);
        if (!flight) break;
        this.flights.delete(m.rid);
        const { content, segment } = flight;
        if (m.reason === wire.BUSY) {
          // Many at once are one answer.
          if (this.busyUntil < this.host.now())
            this.busyFor = Math.min(BUSIEST_S, this.busyFor * 2);
          this.busyUntil = this.host.now() + this.busyFor;
        } else if (m.reason === wire.UPLOAD_OFF) this.uploads = false;
        else if (m.reason === wire.UNKNOWN_CONTENT) this.leave(content.key);
        else {
          // Evicted in the meantime, or never held: someone who announces what is not there
          // would be asked for ever.
          this.remote(content.key)?.has.put(segment, false);
          this.strikes += 0.25;
        }
        content.poke();
        break;
      }
      case wire.CANCEL: {
        const at = this.orders.findIndex((o) => o.rid === m.rid);
        if (at >= 0) this.orders.splice(at, 1);
        break;
      }
      case wire.LEAVE: {
        const remote = this.remotes.get(m.c);
        this.remotes.delete(m.c);
        if (remote) this.host.contents.get(remote.key)?.poke();
        break;
      }
      case wire.PEERS: {
        const remote = this.remotes.get(m.c);
        this.spend(m.ids.length);
        if (remote) this.host.heardOf(this.id, remote.key, m.ids);
        break;
      }
      case wire.PING:
        this.say({ type: wire.PONG, token: m.token });
        break;
      case wire.PONG: {
        const at = this.pings.get(m.token);
        if (at === undefined) break;
        const rtt = this.host.now() - at;
        this.rtt = this.rtt === null ? rtt : 0.7 * this.rtt + 0.3 * rtt;
        this.pings.clear();
      }
    }
  }

  private leave(key: string): void {
    for (const [c, remote] of this.remotes) if (remote.key === key) this.remotes.delete(c);
  }

  private order(content: Shared | undefined, request: Request): void {
    const { rid, segment, offset, length } = request;
    const refuse = (reason: number): void => {
      this.say({ type: wire.REJECT, rid, reason });
    };
    if (!content || this.host.contents.get(content.key) !== content) {
      refuse(wire.UNKNOWN_CONTENT);
      return;
    }
    const { segmentBytes, size, held } = content;
    this.need(segment < held.size);
    this.need(offset + length <= Math.min(segmentBytes, size - segment * segmentBytes));
    if (!this.host.mayUpload()) {
      refuse(wire.UPLOAD_OFF);
      return;
    }
    if (!held.has(segment)) {
      refuse(wire.NOT_HELD);
      return;
    }
    if (this.orders.length + this.awaited >= MAX_ORDERS || !this.host.inTime(length)) {
      refuse(wire.BUSY);
      return;
    }
    // The number may be another content's by then.
    const again = (): void => {
      this.awaited--;
      this.attempt(() => {
        this.order(content, request);
      });
    };
    const bytes = content.bytes(segment, again)?.subarray(offset, offset + length);
    if (!bytes) {
      this.awaited++;
      return;
    }
    const order: Order & { content: Shared } = { rid, bytes, offset, sent: 0, content };
    this.orders.push(order);
    this.host.serve();
  }

  private data(rid: number, offset: number, bytes: Uint8Array): void {
    const flight = this.flights.get(rid);
    if (!flight) {
      // Still under way when we cancelled; more than that nobody asked for.
      this.forgiven -= bytes.length;
      this.need(this.forgiven >= 0);
      return;
    }
    const { content, segment } = flight;
    const at = segment * content.segmentBytes + offset;
    this.need(at === flight.from && at + bytes.length <= flight.to);
    const now = this.host.now();
    this.received += bytes.length;
    flight.from += bytes.length;
    flight.heard = this.dataAt = this.usedAt = now;
    this.markBytes += bytes.length;
    const done = flight.from === flight.to;
    if (done) {
      this.flights.delete(rid);
      this.strikes = Math.max(0, this.strikes - 0.1);
      this.doubted = false;
      this.gaveAt = now;
      this.busyFor = 0.25;
    }
    const elapsed = Math.max(0.004, now - this.markAt);
    if (elapsed >= 0.25 || (done && !this.flights.size && this.markBytes >= 32768)) {
      this.rate = 0.5 * this.rate + (0.5 * this.markBytes) / elapsed;
      this.mark(now);
    }
    content.received(flight, bytes);
  }

  private mark(at: number): void {
    this.markAt = at;
    this.markBytes = 0;
  }

  // --- time ---------------------------------------------------------------------------------

  /** Called now and then: measures the round trip, gives up on answers that do not come. */
  tick(): void {
    if (this.over) return;
    const now = this.host.now();
    // The visitor has left the house, or is back.
    if (this.gives !== this.host.mayUpload()) this.greet();
    if (now - this.pingedAt >= PING_S) {
      this.pingedAt = now;
      this.rid = (this.rid + 1) >>> 0;
      this.pings.set(this.rid, now);
      this.say({ type: wire.PING, token: this.rid });
    }
    for (const { claims } of this.remotes.values())
      for (const [s, { until }] of claims) if (until < now) claims.delete(s);
    for (const flight of this.flights.values()) {
      // Silent for long, or so slow that it will never do.
      const late = now - flight.due;
      if (now - Math.max(this.dataAt, flight.since) < 8 && late < 20) continue;
      this.cancel(flight);
      this.strikes++;
      this.rate /= 2;
      flight.content.poke();
    }
    if (this.strikes >= 3 || now - this.heardAt > DEAD_S) this.end(this.strikes >= 3);
  }

  /** Everything of it ends; the requests under way are for others now. */
  end(hostile: boolean): void {
    if (this.over) return;
    this.over = true;
    this.orders.length = 0;
    const contents = new Set([...this.flights.values()].map((f) => f.content));
    this.flights.clear();
    for (const remote of this.remotes.values()) {
      const own = this.host.contents.get(remote.key);
      if (own) contents.add(own);
    }
    this.host.ended(this, hostile);
    for (const content of contents) content.poke();
  }
}
