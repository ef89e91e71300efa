import { sleep } from "../within";

/**
 * A player that has less than so much in hand gets a part of the network's bytes; who has more, or
 * nothing to hurry for, waits. It is more with every second, as a player without us would have more
 * in hand by then.
 */
const LOW_S = 1;
const LOW_GROWTH = 0.5;
/** Who has less had too little the last time. */
const LEAST_S = 0.35;
/** A moment for an engine to start, and for a player to see what it got. */
const GRACE_MS = 250;
const LONG_MS = 30_000;
const LOOK_MS = 50;
const PART_BYTES = 196_608;
const MOST_PART_BYTES = 16 * PART_BYTES;

/** While a content is on its way, when its players get the network's bytes, and how many. */
export class Parts {
  readonly #players: (url: string) => HTMLMediaElement[];
  readonly #given = new Map<string, { readonly since: number; bytes: number }>();

  constructor(players: (url: string) => HTMLMediaElement[]) {
    this.#players = players;
  }

  /** Whether players of this URL have been given some. */
  has(url: string): boolean {
    return this.#given.has(url);
  }

  /**
   * What `content` gives; the number of bytes that go out before, where a player of the URL cannot
   * wait for that; undefined where nobody waits any more.
   */
  async wait<T>(
    url: string,
    content: Promise<T>,
    signal: AbortSignal,
  ): Promise<T | number | undefined> {
    const asked = performance.now();
    const part = this.#given.get(url) ?? { since: asked, bytes: 0 };
    for (;;) {
      const found = (await Promise.race([content, sleep(LOOK_MS)])) as T | undefined;
      const players = this.#players(url);
      if (found !== undefined || signal.aborted || !players.length) return found;
      const now = performance.now();
      const low = LOW_S + (LOW_GROWTH * (now - part.since)) / 1000;
      const begun = part.bytes || players.some(({ played }) => played.length);
      if (begun && players.some((player) => hurries(player, LEAST_S))) {
        part.bytes = Math.min(2 * part.bytes, MOST_PART_BYTES);
        break;
      }
      const waited = now - asked;
      if (waited < GRACE_MS) continue;
      if (waited > LONG_MS || players.some((player) => hurries(player, low))) break;
    }
    part.bytes ||= PART_BYTES;
    this.#given.set(url, part);
    return part.bytes;
  }
}

/** Whether a player needs bytes now: it cannot show the next frames, or not for long. */
function hurries(player: HTMLMediaElement, low: number): boolean {
  const { readyState, paused, played, buffered, currentTime, playbackRate } = player;
  if (readyState < 3) return true;
  if (paused) return readyState < 4 && !played.length;
  for (let i = 0; i < buffered.length; i++)
    if (buffered.start(i) <= currentTime && currentTime < buffered.end(i))
      return buffered.end(i) - currentTime < low * playbackRate;
  return true;
}
