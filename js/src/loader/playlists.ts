/** The server looks at no more. */
const MOST = 8;

/** The HLS and DASH playlists that this page read last: they tell whose a segment is. */
export class Playlists {
  readonly #read = new Set<string>();
  readonly #observer = new PerformanceObserver((list) => {
    this.#take(list.getEntries());
  });

  constructor() {
    this.#observer.observe({ type: "resource", buffered: true });
  }

  /** Their paths and queries. */
  get last(): string[] {
    this.#take(this.#observer.takeRecords());
    return [...this.#read];
  }

  #take(entries: PerformanceEntry[]): void {
    for (const { name } of entries) {
      const { origin, pathname, search } = new URL(name);
      if (origin !== location.origin || !/\.(m3u8?|mpd)$/i.test(pathname)) continue;
      const playlist = pathname + search;
      this.#read.delete(playlist);
      this.#read.add(playlist);
      for (const oldest of this.#read) if (this.#read.size > MOST) this.#read.delete(oldest);
    }
  }
}
