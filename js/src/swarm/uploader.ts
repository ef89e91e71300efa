/** Who is served next, and how fast: one token bucket over all links. */
import { DATA, MAX_DATA, encode } from "./wire";

/** One request of a peer. */
export interface Order {
  readonly rid: number;
  readonly bytes: Uint8Array;
  /** Offset of `bytes` within the segment. */
  readonly offset: number;
  sent: number;
}

/** A link as the uploader sees it. */
export interface Outlet {
  readonly orders: Order[];
  /** Bytes given to the channel that have not left. */
  backlog(): number;
  send(message: Uint8Array<ArrayBuffer>): boolean;
  /** Told of bytes of content sent. */
  served(order: Order, bytes: number): void;
}

/** A channel that holds more waits: a CANCEL should still find most of the work undone. */
export const HIGH_WATER = 131072;
/**
 * What waits in all channels together leaves within that time: behind it wait our HAVEs and
 * PONGs, and a partner that asked in vain.
 */
const BACKLOG_S = 0.25;
/** Orders beyond that time are refused. */
const QUEUE_S = 1;
/** Of the measured uplink, where the site sets no limit. */
const FRACTION = 0.8;
/** What an uplink is thought to be until it is measured: 10 Mbit/s. */
const GUESS = 1_250_000;
const MOST = 40_000_000;
const SAMPLE_S = 0.25;
/** The bucket holds that much time. */
const BURST_S = 0.25;

export class Uploader {
  readonly outlets = new Set<Outlet>();
  private tokens = MAX_DATA;
  private filledAt: number;
  private sampledAt: number;
  private sentSince = 0;
  private backlogThen = 0;
  private hungry = false;
  private congestedAt = -Infinity;
  private estimate = GUESS;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private next = 0;

  constructor(
    private readonly limit: number | null,
    private readonly now: () => number,
  ) {
    this.filledAt = this.sampledAt = now();
  }

  /** Bytes per second. */
  get cap(): number {
    return this.limit ?? this.estimate * FRACTION;
  }

  /** How much of the next second is taken already, 0 to 1. */
  get busy(): number {
    return Math.min(1, this.queued / Math.max(1, this.cap));
  }

  /**
   * Whether an order of so many bytes is done soon. Of many that share a slow uplink none would
   * be in time, and all that they got would be for nothing: a few are served, the others told.
   */
  inTime(bytes: number): boolean {
    const { queued } = this;
    return !queued || queued + bytes < this.cap * QUEUE_S;
  }

  private get queued(): number {
    let bytes = 0;
    for (const { orders } of this.outlets) for (const o of orders) bytes += o.bytes.length - o.sent;
    return bytes;
  }

  /** Sends what may be sent now; comes back by itself for the rest. */
  pump(): void {
    const now = this.now();
    const burst = Math.max(MAX_DATA, this.cap * BURST_S);
    this.tokens = Math.min(burst, this.tokens + (now - this.filledAt) * this.cap);
    this.filledAt = now;
    this.measure(now);
    let room = this.most - this.backlog();
    // Round robin, one message each: a greedy peer waits for the modest ones.
    for (let idle = 0; this.tokens > 0 && room > 0 && idle < this.outlets.size;) {
      const outlets = [...this.outlets];
      const outlet = outlets[this.next++ % outlets.length];
      const order = outlet?.orders[0];
      if (!outlet || !order || outlet.backlog() >= HIGH_WATER) {
        idle++;
        continue;
      }
      idle = 0;
      const bytes = order.bytes.subarray(order.sent, order.sent + MAX_DATA);
      const offset = order.offset + order.sent;
      order.sent += bytes.length;
      if (order.sent >= order.bytes.length) outlet.orders.shift();
      if (!outlet.send(encode({ type: DATA, rid: order.rid, offset, bytes }))) {
        outlet.orders.length = 0;
        continue;
      }
      this.tokens -= bytes.length;
      room -= bytes.length;
      this.sentSince += bytes.length;
      outlet.served(order, bytes.length);
    }
    clearTimeout(this.timer);
    if (![...this.outlets].some((o) => o.orders.length)) return;
    if (this.tokens <= 0) this.hungry = true;
    // A full channel calls again when it has drained; the timer is for the bucket, and for many
    // channels that are full together.
    const bytes = room > 0 ? MAX_DATA - this.tokens : this.most / 2;
    const wait = room > 0 && this.tokens > 0 ? SAMPLE_S : bytes / this.cap;
    this.timer = setTimeout(
      () => {
        this.pump();
      },
      Math.ceil(Math.min(1, wait) * 1000),
    );
  }

  private get most(): number {
    return Math.max(4 * MAX_DATA, this.cap * BACKLOG_S);
  }

  private backlog(): number {
    let bytes = 0;
    for (const outlet of this.outlets) bytes += outlet.backlog();
    return bytes;
  }

  stop(): void {
    clearTimeout(this.timer);
    this.outlets.clear();
  }

  /**
   * The uplink, seen from how fast full channels drain. While they never fill, the cap is below
   * it and may grow; not soon after it was too high, or every probe would cost the visitor.
   */
  private measure(now: number): void {
    const elapsed = now - this.sampledAt;
    if (elapsed < SAMPLE_S) return;
    const backlog = this.backlog();
    const drained = (this.sentSince + this.backlogThen - backlog) / elapsed;
    const much = Math.min(HIGH_WATER, this.most) / 2;
    if (backlog >= much && this.backlogThen >= much && elapsed < 2) {
      this.estimate = Math.max(16384, 0.7 * this.estimate + 0.3 * drained);
      this.congestedAt = now;
    } else if (this.hungry && now - this.congestedAt > 10) {
      this.estimate = Math.min(MOST, this.estimate * 1.25);
    }
    this.sampledAt = now;
    this.sentSince = 0;
    this.backlogThen = backlog;
    this.hungry = false;
  }
}
