/** From players' clocks and open reads to demands. Pure; seconds and bytes. */
import type { Playback } from "../engine";
import type { Demand } from "./scheduler";

export interface Read {
  /** Next byte to hand out. */
  at: number;
  readonly end: number;
  /** Since when its consumer waits for bytes; null while it does not. */
  waiting: number | null;
}

export interface Need {
  readonly demands: readonly Demand[];
  readonly bytesPerS: number;
  readonly starving: boolean;
  readonly playing: boolean;
}

/** What is assumed of a medium whose duration is not known yet (2 Mbit/s). */
const UNKNOWN_RATE = 250_000;
/** A paused player might go on any moment. */
const PAUSED_S = 3;
/** A reader without a player (a download, a fragment of another player's) waits that long. */
const NO_PLAYER_S = 1;
/** A player that asks gets something now and then, however much it has in hand. */
const STEADY_S = 6;

/** Seconds of media in hand ahead of the playhead. */
export function bufferedAhead({ buffered, currentTime }: Playback): number {
  for (let i = 0; i < buffered.length; i++) {
    if (buffered.start(i) <= currentTime + 0.1 && buffered.end(i) > currentTime)
      return buffered.end(i) - currentTime;
  }
  return 0;
}

/** HTMLMediaElement.HAVE_CURRENT_DATA, HAVE_FUTURE_DATA, HAVE_ENOUGH_DATA. */
const CURRENT = 2;
const FUTURE = 3;
const ENOUGH = 4;

/**
 * A player stops before all is played that it lists as buffered: Chromium reads whole blocks of
 * 32 KiB, and wants the next of sound and of picture at hand (measured at 1 Mbit/s: it waits with
 * 0.63 to 0.72 s left).
 */
const UNDERRUN_S = 0.3;
const UNDERRUN_BYTES = 65536;
/**
 * Firefox begins to play some tenths of a second before it lists anything as buffered: it is
 * believed to have what it was handed, up to that second of the film, as an index takes its part.
 */
const UNLISTED_S = 1.5;
/** Not yet nothing: the player does play. */
const LEAST_S = 0.01;

/** Media seconds in hand before a player that was handed bytes up to `at` would wait. */
function playable(p: Playback, size: number, at: number): number {
  const { buffered, currentTime, duration, readyState } = p;
  const perByte = duration > 0 && duration < Infinity ? duration / size : 0;
  const unlisted = !buffered.length && readyState >= FUTURE;
  const ahead = unlisted
    ? Math.max(0, Math.min(UNLISTED_S, at * perByte) - currentTime)
    : bufferedAhead(p);
  if (ahead === 0) return 0;
  const block = UNDERRUN_BYTES * perByte;
  return Math.max(LEAST_S, ahead - UNDERRUN_S - Math.min(block, 2));
}

/** Seconds until this player needs the byte at its read position. */
function leftOf(p: Playback, size: number, at: number): number {
  if (p.ended) return Infinity;
  const ahead = playable(p, size, at);
  const pace = Math.max(0.1, Math.abs(p.playbackRate) || 1);
  // `autoplay` begins without a word as soon as the browser finds that enough comes.
  const waits = p.autoplay && p.readyState < ENOUGH && !p.played?.length ? 0 : PAUSED_S;
  if (p.paused && !p.seeking) return p.readyState < CURRENT ? 0 : ahead / pace + waits;
  return p.seeking || p.readyState < FUTURE ? 0 : ahead / pace;
}

/**
 * The demands of all readers. What was handed to a player is in its buffer, so the byte at the
 * read position is needed when that buffer has run out: this holds for any bit rate over time,
 * which a mapping of time to bytes over the whole file would not.
 *
 * @param resume - Where the last reader stopped: a player with a full buffer closes its request
 *   and comes back there.
 */
export function needs(
  size: number,
  reads: readonly Read[],
  resume: number,
  playbacks: readonly Playback[],
  now: number,
): Need {
  const live = playbacks.filter((p) => p.duration > 0 && p.duration < Infinity);
  const bytesPerS = live.length
    ? Math.max(...live.map((p) => (size / p.duration) * Math.max(1, Math.abs(p.playbackRate))))
    : UNKNOWN_RATE;
  const latest = reads[reads.length - 1]?.at ?? resume;
  const base = Math.min(...playbacks.map((p) => leftOf(p, size, latest)), Infinity);
  const demands: Demand[] = reads.map((r) => ({
    at: r.at,
    end: r.end,
    left: playbacks.length
      ? r.waiting === null
        ? base + 0.1
        : Math.min(base, Math.max(0, STEADY_S - (now - r.waiting)))
      : Math.max(0, NO_PLAYER_S - (r.waiting === null ? 0 : now - r.waiting)),
  }));
  if (playbacks.length && latest < size && base < Infinity)
    demands.push({ at: latest, end: size, left: base + 0.2 });
  return {
    demands,
    bytesPerS,
    starving: base === 0,
    playing: playbacks.some((p) => !p.paused && !p.ended),
  };
}
