/** A `<video>` in virtual time: plays what it was given, waits where there is nothing. */
import type { Playback } from "../../src/engine";
import type { Clock } from "./clock";

/** A player starts with that much in hand, and asks no further than that. */
export const START_S = 0.3;
export const FULL_S = 30;
/** It stops with so little left, and takes so little at the end for the end. */
const LEAST_S = 0.02;
const END_S = 0.1;

export class Player implements Playback {
  playbackRate = 1;
  paused = false;
  seeking = false;
  loaded = 0;
  /** When the first frame was shown. */
  startedAt = -1;
  /** Where in the film it had to wait. */
  readonly stallsAt: number[] = [];
  stalledS = 0;
  readonly over: Promise<void>;
  private base = 0;
  /** Since when it plays; null while it waits. */
  private since: number | null = null;
  private waitingAt = 0;
  private finish: () => void = () => undefined;
  private timed = false;

  constructor(
    private readonly clock: Clock,
    readonly duration: number,
    /** It is left after so much of the film. */
    private readonly leaveS = Infinity,
  ) {
    this.over = new Promise((finish) => (this.finish = finish));
  }

  get currentTime(): number {
    return this.base + (this.since === null ? 0 : this.clock.now - this.since);
  }

  get ended(): boolean {
    return this.currentTime >= this.duration - END_S;
  }

  get readyState(): number {
    return this.loaded > this.currentTime + 0.05 ? 4 : this.loaded > 0 ? 2 : 0;
  }

  get buffered(): TimeRanges {
    const { loaded } = this;
    return { length: loaded > 0 ? 1 : 0, start: () => 0, end: () => loaded };
  }

  /** The film is here up to that second. */
  feed(loaded: number): void {
    this.loaded = loaded;
    if (this.since !== null || this.paused) return;
    if (loaded - this.base <= START_S && loaded < this.duration - END_S) return;
    const { now } = this.clock;
    if (this.startedAt < 0) this.startedAt = now;
    else this.stalledS += now - this.waitingAt;
    this.since = now;
    this.time();
  }

  /** Nobody looks any more. */
  stop(): void {
    this.base = this.currentTime;
    this.since = null;
    this.paused = true;
    this.finish();
  }

  /** Comes back when there is nothing left to play, or at the end. */
  private time(): void {
    if (this.timed) return;
    this.timed = true;
    const last = Math.min(this.duration - END_S, this.leaveS);
    const to = Math.min(last, this.loaded - LEAST_S);
    this.clock.in(Math.max(0.001, to - this.currentTime), () => {
      this.timed = false;
      if (this.since === null) return;
      if (this.currentTime >= last - 1e-6) this.stop();
      else if (this.loaded - LEAST_S > this.currentTime + 1e-6) this.time();
      else {
        this.base = this.currentTime;
        this.since = null;
        this.waitingAt = this.clock.now;
        this.stallsAt.push(this.base);
      }
    });
  }
}
