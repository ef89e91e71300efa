/**
 * Verified segments of all contents, in memory, under one ceiling.
 *
 * A persistent part would stand behind `get` and `put` with the same meaning; eviction from
 * memory would then not be an eviction from the store.
 */

/** What a content tells the store about the worth of its segments. */
export interface Shelf {
  /** How far a segment is from what its players need next; the farthest goes first. */
  distance(segment: number): number;
  /** A segment is no longer held. */
  evicted(segment: number): void;
}

export class Store {
  used = 0;
  private readonly shelves = new Map<Shelf, Map<number, Uint8Array>>();

  constructor(readonly limit: number) {}

  get(shelf: Shelf, segment: number): Uint8Array | null {
    return this.shelves.get(shelf)?.get(segment) ?? null;
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
    shelf.evicted(segment);
    return true;
  }
}
