/**
 * Verified segments of all contents, in memory, under one ceiling.
 *
 * The persistent part stands behind `get`: what it has is held, in memory or not, so that an
 * eviction from memory is then none from the store.
 */
import type { SwarmContent } from "./content";
import type { PeerView } from "./scheduler";

/** What a content tells the store about the worth of its segments. */
export interface Shelf {
  /** How far a segment is from what its players need next; the farthest goes first. */
  distance(segment: number): number;
  /** A segment is no longer held. */
  evicted(segment: number): void;
}

/** The persistent part: comes in a script of its own (src/stored/), later or never. */
export interface Disk {
  /**
   * Takes a content's stored segments for held.
   *
   * @param playlists - What the page had read when it was opened.
   */
  opened(content: SwarmContent, playlists: readonly string[]): void;
  has(shelf: Shelf, segment: number): boolean;
  /** Brings a segment into memory. It is there, or not held any more, when `then` is called. */
  load(shelf: Shelf, segment: number, then?: () => void): void;
  /** Other tabs of this browser that fetch the content now. */
  tabs(shelf: Shelf): PeerView[];
  close(): void;
}

export class Store {
  used = 0;
  disk: Disk | undefined;
  private readonly shelves = new Map<Shelf, Map<number, Uint8Array>>();

  constructor(readonly limit: number) {}

  /** @param then - Called where null is the answer for now: the disk may have it. */
  get(shelf: Shelf, segment: number, then?: () => void): Uint8Array | null {
    const bytes = this.shelves.get(shelf)?.get(segment);
    if (!bytes) this.disk?.load(shelf, segment, then);
    return bytes ?? null;
  }

  /** Keeps a segment, giving up the least useful ones where the ceiling is met. */
  put(shelf: Shelf, segment: number, bytes: Uint8Array): void {
    let segments = this.shelves.get(shelf);
    if (!segments) this.shelves.set(shelf, (segments = new Map<number, Uint8Array>()));
    if (segments.has(segment)) return;
    segments.set(segment, bytes);
    this.used += bytes.length;
    while (this.used > this.limit && this.evict(shelf, segment));
  }

  drop(shelf: Shelf): void {
    for (const bytes of this.shelves.get(shelf)?.values() ?? []) this.used -= bytes.length;
    this.shelves.delete(shelf);
  }

  private evict(fresh: Shelf, newest: number): boolean {
    let worst: [Shelf, number] | undefined;
    let far = -1;
    for (const [shelf, segments] of this.shelves) {
      for (const segment of segments.keys()) {
        // The one that just came has readers waiting; it goes last.
        const distance = shelf === fresh && segment === newest ? 0 : shelf.distance(segment);
        if (distance > far) [worst, far] = [[shelf, segment], distance];
      }
    }
    if (!worst || (worst[0] === fresh && worst[1] === newest)) return false;
    const [shelf, segment] = worst;
    this.used -= this.shelves.get(shelf)?.get(segment)?.length ?? 0;
    this.shelves.get(shelf)?.delete(segment);
    if (!this.disk?.has(shelf, segment)) shelf.evicted(segment);
    return true;
  }
}
