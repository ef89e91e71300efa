/* eslint @typescript-eslint/restrict-template-expressions: ["error", { "allowNumber": true }] */
/** Byte ranges from the site's own route, which always stays a working source. */
import { ORIGIN_MARK } from "../engine";
import { sleep } from "../within";
import { ORIGIN, type Span } from "./assembly";
import type { Flight } from "./scheduler";

export class OriginFlight implements Flight {
  readonly source = ORIGIN;
  readonly abort = new AbortController();
  heard: number;
  constructor(
    public from: number,
    public to: number,
    readonly since: number,
    /** For the statistics. */
    readonly cause: string,
    readonly bulk: boolean,
  ) {
    this.heard = since;
  }
}

export interface Sink {
  /** Bytes of the content, as they stream in. */
  received(at: number, bytes: Uint8Array, flight: OriginFlight): void;
  /** A flight ended, well or not. */
  landed(flight: OriginFlight): void;
  /** The origin has a resource of another size now. */
  changed(): void;
}

class OriginError extends Error {
  constructor(
    message: string,
    readonly final: boolean,
  ) {
    super(message);
  }
}

/** An answer that says so for good; what else fails is tried again. */
const FINAL = (status: number): boolean =>
  status >= 400 && status < 500 && ![408, 425, 429].includes(status);
/** After so many failures in a row the origin counts as failed. */
const ENOUGH = 4;
/** A response that stops for that long is given up. */
const STUCK_S = 12;
/** How often a long response is measured. */
const RATE_S = 0.5;

export class Origin {
  latency = 0.15;
  rate = 500_000;
  retryAt = 0;
  /** It answered 200 to a range: one sequential stream is all there is. */
  sequential = false;
  /** It wants this visitor's answers to be kept nowhere. */
  noStore = false;
  /** Sequential only: do not read on beyond this byte. */
  limit = 0;
  readonly flights = new Set<OriginFlight>();
  private failures = 0;
  private measured = false;
  private heard = false;
  private wake: (() => void) | undefined;

  constructor(
    private readonly url: () => string,
    private readonly size: number,
    private readonly sink: Sink,
    private readonly fetch: typeof globalThis.fetch,
    private readonly now: () => number,
  ) {}

  /** Whether there is no more hope to get bytes. */
  get failed(): boolean {
    return this.failures >= ENOUGH;
  }

  /** The next reader may try again. */
  forgive(): void {
    this.failures = Math.min(this.failures, ENOUGH - 1);
    this.retryAt = 0;
  }

  open([from, to]: Span, cause: string, bulk: boolean): void {
    if (this.sequential) {
      const [stream] = this.flights;
      // What is ahead of the stream will pass by; what is behind it needs a new one.
      if (stream && stream.from <= from) return;
      this.close();
      [from, to] = [0, this.size];
    }
    const flight = new OriginFlight(from, to, this.now(), cause, bulk);
    this.flights.add(flight);
    void this.run(flight);
  }

  /** Lets a flight end early. */
  trim(flight: OriginFlight, to: number): void {
    if (this.sequential) return;
    flight.to = Math.max(flight.from, to);
    if (flight.from >= to) this.end(flight);
  }

  /** Reads on in a sequential stream that waits at its limit. */
  resume(limit: number): void {
    this.limit = limit;
    this.wake?.();
  }

  tick(): void {
    for (const flight of this.flights)
      if (this.now() - flight.heard > STUCK_S && !(this.sequential && flight.from >= this.limit)) {
        this.failure(false);
        this.end(flight);
      }
  }

  close(): void {
    for (const flight of this.flights) this.end(flight);
  }

  /** The plain resource from `start`, unverified: what the player would have got without us. */
  async *direct(start: number, end: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for (let tries = 0; start < end;) {
      try {
        for await (const [at, bytes] of this.request(start, end, signal)) {
          const piece = bytes.subarray(Math.max(0, start - at), Math.max(0, end - at));
          if (!piece.length) continue;
          start += piece.length;
          tries = 0;
          yield piece;
          if (start >= end) return;
        }
        throw new Error("the origin's answer was too short");
      } catch (error) {
        const final = error instanceof OriginError && error.final;
        if (signal.aborted || final || ++tries >= ENOUGH) throw error;
        await sleep(250 << tries);
      }
    }
  }

  private async run(flight: OriginFlight): Promise<void> {
    const started = flight.since;
    let first = 0;
    let [mark, count] = [started, 0];
    try {
      const { signal } = flight.abort;
      for await (const [at, bytes] of this.request(flight.from, flight.to, signal, flight)) {
        if (signal.aborted) return;
        const now = this.now();
        if (!first) {
          first = now;
          // Believed at once the first time.
          const weight = this.heard ? 0.4 : 1;
          this.heard = true;
          this.latency += weight * (now - started - this.latency);
        }
        flight.heard = now;
        count += bytes.length;
        if (now - mark > RATE_S) {
          this.measure(count, now - mark);
          [mark, count] = [now, 0];
        }
        if (at + bytes.length > flight.from && flight.from < flight.to) {
          const fresh = bytes.subarray(Math.max(0, flight.from - at), flight.to - at);
          const where = Math.max(at, flight.from);
          flight.from = where + fresh.length;
          this.sink.received(where, fresh, flight);
        }
        if (flight.from >= flight.to) break;
      }
      if (flight.from < flight.to) throw new Error("too short");
      this.failures = 0;
    } catch (error) {
      if (this.flights.has(flight)) this.failure(error instanceof OriginError && error.final);
    }
    if (count >= 32768) this.measure(count, this.now() - mark);
    this.end(flight);
  }

  /**
   * The worker had bytes from it, all in all in so many seconds: a first guess, where it is a worse
   * one. They may have come from the browser's cache, and who hurries too late lets a player stall.
   */
  gave(bytes: number, seconds: number): void {
    if (!this.measured) this.rate = Math.min(this.rate, bytes / seconds);
  }

  private measure(bytes: number, seconds: number): void {
    const rate = bytes / Math.max(0.002, seconds);
    // Believed at once the first time, and sooner when it got worse than when it got better.
    const weight = this.measured ? (rate < this.rate ? 0.6 : 0.3) : 1;
    this.measured = true;
    this.rate += weight * (rate - this.rate);
  }

  private end(flight: OriginFlight): void {
    if (!this.flights.delete(flight)) return;
    this.wake?.();
    flight.abort.abort();
    this.sink.landed(flight);
  }

  private failure(final: boolean): void {
    this.failures = final ? ENOUGH : this.failures + 1;
    this.retryAt = this.now() + Math.min(8, 0.2 * 2 ** this.failures);
  }

  /**
   * One request; yields [position, bytes].
   *
   * A closed range of two bytes or more: some static routes fail on one, or on open and suffix
   * ranges. The browser's cache is used as a plain player would use it, except beside another
   * request for the same URL, which Chromium's cache would make this one wait for.
   */
  private async *request(
    from: number,
    to: number,
    signal: AbortSignal,
    flight?: OriginFlight,
  ): AsyncGenerator<[number, Uint8Array]> {
    const { size } = this;
    const last = Math.min(size, Math.max(to, from + 2)) - 1;
    const begin = Math.max(0, Math.min(from, last - 1));
    const ranged = size > 1 && !this.sequential;
    const response = await this.fetch(this.url() + ORIGIN_MARK, {
      signal,
      cache: this.flights.size > 1 ? "no-store" : "default",
      ...(ranged && { headers: { Range: `bytes=${begin}-${last}` } }),
    });
    const { status, body } = response;
    this.noStore ||= !!response.headers.get("cache-control")?.includes("no-store");
    if (!response.ok || !body) {
      throw new OriginError(`the origin answered ${status}`, FINAL(status));
    }
    let at = 0;
    if (status === 206) {
      at = begin;
      const range = response.headers.get("content-range");
      if (
        range !== `bytes ${begin}-${last}/${size}` &&
        !(!flight && range?.startsWith(`bytes ${begin}-${last}/`))
      ) {
        const other = /\/(\d+)$/.exec(range ?? "")?.[1];
        if (other && +other !== size) this.sink.changed();
        // An answer to another question: ask without a range from now on.
        else this.sequential = true;
        throw new Error(`the origin answered with the range ${range}`);
      }
    } else if (flight) {
      // The whole resource: keep this one stream instead of aborting and asking again.
      this.sequential = true;
      for (const other of [...this.flights]) if (other !== flight) this.end(other);
      flight.from = 0;
      flight.to = size;
    }
    const reader = body.getReader();
    try {
      for (;;) {
        while (flight && this.sequential && at > this.limit && this.flights.has(flight)) {
          await new Promise<void>((done) => (this.wake = done));
        }
        const { done, value } = await reader.read();
        if (done) return;
        yield [at, value];
        at += value.length;
        if (at > size + 65536) return;
      }
    } finally {
      reader.cancel().catch(() => undefined);
    }
  }
}
