/**
 * What of which content is stored, and what goes first where there is too much. Pure: time comes
 * in as milliseconds since 1970, lists of what to delete go out.
 */
import { MAX_SEGMENTS, type Run } from "../swarm/wire";

export interface About {
  /** Absolute. */
  readonly url: string;
  readonly size: number;
  readonly segmentBytes: number;
  /** Of the presentation that it is a segment of: absolute; empty where it is none. */
  readonly playlists: readonly string[];
}

export interface Kept extends About {
  /** In the order in which they were stored. */
  readonly segments: Set<number>;
  /** When the first one was stored. */
  readonly since: number;
  /** When it was last watched. */
  used: number;
}

/** Segments of contents, by content key. */
export type Named = Map<string, number[]>;

const VERSION = 1;
const MAX_CONTENTS = 2000;
/** How many beginnings a page is told of before it has asked. */
const MAX_HINTED = 50;
/** A full store makes room for what is coming, too, instead of at every single segment. */
const ROOM = 0.95;

export class Ledger {
  readonly contents = new Map<string, Kept>();

  /** The ledger that `text` tells of; what cannot be true in it is left out. Null: none at all. */
  static parse(text: string | null): Ledger | null {
    const ledger = new Ledger();
    try {
      const [version, rows] = JSON.parse(text ?? "") as [number, unknown[]];
      if (version !== VERSION) return null;
      for (const row of rows) {
        const [key, url, size, segmentBytes, since, used, runs, playlists] = row as [
          string,
          string,
          number,
          number,
          number,
          number,
          Run[],
          string[],
        ];
        const count = Math.ceil(size / segmentBytes);
        const sound = /^[0-9a-f]{32}$/.test(key) && count > 0 && count <= MAX_SEGMENTS;
        if (!sound || !(since > 0) || !(used > 0) || typeof url !== "string") continue;
        const segments = new Set<number>();
        for (const [first, length] of runs)
          for (let s = Math.max(0, first); s < Math.min(count, first + length); s++)
            segments.add(s);
        ledger.contents.set(key, { url, size, segmentBytes, since, used, segments, playlists });
      }
    } catch {
      return null;
    }
    return ledger;
  }

  toString(): string {
    const rows = [...this.contents].map(([key, k]) => {
      const { url, size, segmentBytes, since, used, segments, playlists } = k;
      return [key, url, size, segmentBytes, since, used, inOrder(segments), playlists];
    });
    return JSON.stringify([VERSION, rows]);
  }

  get bytes(): number {
    let sum = 0;
    for (const kept of this.contents.values())
      for (const segment of kept.segments) sum += lengthOf(kept, segment);
    return sum;
  }

  has(key: string, segment: number): boolean {
    return this.contents.get(key)?.segments.has(segment) ?? false;
  }

  add(key: string, about: About, segment: number, now: number): void {
    let kept = this.contents.get(key);
    if (!kept)
      this.contents.set(key, (kept = { ...about, since: now, used: now, segments: new Set() }));
    kept.segments.add(segment);
  }

  drop(key: string, segments: Iterable<number>): void {
    const kept = this.contents.get(key);
    for (const segment of segments) kept?.segments.delete(segment);
    if (kept && !kept.segments.size) this.contents.delete(key);
  }

  /**
   * Takes out what is older than `maxAge` or not of this time at all, then the least recently
   * watched until the rest has at most `limit` bytes: of a content what was stored first.
   *
   * @returns What was taken out.
   */
  evict(limit: number, now: number, maxAge: number): Named {
    const gone: Named = new Map();
    const out = (key: string, segments: number[]): void => {
      gone.set(key, [...(gone.get(key) ?? []), ...segments]);
      this.drop(key, segments);
    };
    for (const [key, { since, segments }] of this.contents)
      // A clock that was set back must not make anything stay for ever.
      if (now - since > maxAge || since > now + maxAge) out(key, [...segments]);
    const oldest = [...this.contents].sort(([, a], [, b]) => a.used - b.used);
    for (const [key, { segments }] of oldest)
      if (this.contents.size > MAX_CONTENTS) out(key, [...segments]);
    let over = this.bytes - limit;
    if (over > 0) over += limit * (1 - ROOM);
    for (const [key, kept] of oldest) {
      const segments: number[] = [];
      for (const segment of kept.segments) {
        if (over <= 0) break;
        over -= lengthOf(kept, segment);
        segments.push(segment);
      }
      if (segments.length) out(key, segments);
    }
    return gone;
  }

  /** The most recently watched contents first. */
  recent(): [string, Kept][] {
    return [...this.contents].sort(([, a], [, b]) => b.used - a.used);
  }

  /** URLs whose beginning is stored, line by line. */
  hint(): string {
    return this.recent()
      .filter(([, { segments }]) => segments.has(0))
      .slice(0, MAX_HINTED)
      .map(([, { url }]) => url)
      .join("\n");
  }
}

function lengthOf({ size, segmentBytes }: About, segment: number): number {
  return Math.max(0, Math.min(segmentBytes, size - segment * segmentBytes));
}

/** Runs that keep the order. */
function inOrder(segments: Iterable<number>): Run[] {
  const runs: [number, number][] = [];
  for (const s of segments) {
    const last = runs[runs.length - 1];
    if (last && last[0] + last[1] === s) last[1]++;
    else runs.push([s, 1]);
  }
  return runs;
}
