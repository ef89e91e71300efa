/* eslint-disable @typescript-eslint/no-non-null-assertion -- a test that fails there fails rightly */
/** Virtual time: the engine's own timers and promises, without waiting and without jitter. */

interface Event {
  at: number;
  order: number;
  run: () => void;
  dead: boolean;
}

const real = { setTimeout, clearTimeout, setInterval, clearInterval };
const immediate = setImmediate;
const realTime = {
  date: Date.now.bind(Date),
  performance: performance.now.bind(performance),
  timeout: AbortSignal.timeout.bind(AbortSignal),
};
/** Where virtual time begins, for those who ask for the date: any moment. */
const EPOCH_MS = 1.7e12;

export class Clock {
  /** Seconds. */
  now = 0;
  /** Events so far. */
  happened = 0;
  private order = 0;
  private readonly heap: Event[] = [];

  at(when: number, run: () => void): Event {
    const event = { at: Math.max(this.now, when), order: this.order++, run, dead: false };
    const { heap } = this;
    let i = heap.push(event) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(heap[i]!, heap[parent]!)) break;
      [heap[i], heap[parent]] = [heap[parent]!, heap[i]!];
      i = parent;
    }
    return event;
  }

  in(seconds: number, run: () => void): Event {
    return this.at(this.now + seconds, run);
  }

  sleep(seconds: number): Promise<void> {
    return new Promise((done) => this.in(seconds, done));
  }

  /** Runs until `done` resolves, or nothing is left to do. */
  async until<T>(done: Promise<T>): Promise<T> {
    let over = false as boolean;
    void done.finally(() => (over = true)).catch(() => undefined);
    for (;;) {
      // Promises of this moment first; a macrotask later they have all settled.
      await new Promise<void>((next) => immediate(next));
      if (over) return done;
      let event = this.pop();
      while (event?.dead) event = this.pop();
      if (!event) throw new Error("nothing left to happen");
      this.now = event.at;
      this.happened++;
      event.run();
    }
  }

  /** Puts virtual time in the place of the real one; returns how to undo it. */
  install(): () => void {
    const set = (run: () => void, ms = 0): Event => this.in(Math.max(0, ms) / 1000, run);
    const clear = (event?: Event): void => {
      if (event) event.dead = true;
    };
    const every = (run: () => void, ms: number): { dead: boolean } => {
      const handle = { dead: false };
      const again = (): void => {
        if (handle.dead) return;
        run();
        this.in(ms / 1000, again);
      };
      this.in(ms / 1000, again);
      return handle;
    };
    Object.assign(globalThis, {
      setTimeout: set,
      clearTimeout: clear,
      setInterval: every,
      clearInterval: clear,
    });
    Date.now = () => EPOCH_MS + this.now * 1000;
    performance.now = () => this.now * 1000;
    AbortSignal.timeout = (ms) => {
      const controller = new AbortController();
      this.in(ms / 1000, () => {
        controller.abort(new Error("too late"));
      });
      return controller.signal;
    };
    return () => {
      Object.assign(globalThis, real);
      Date.now = realTime.date;
      performance.now = realTime.performance;
      AbortSignal.timeout = realTime.timeout;
    };
  }

  private pop(): Event | undefined {
    const { heap } = this;
    const [top] = heap;
    const last = heap.pop();
    if (!top || !last || top === last) return top;
    heap[0] = last;
    for (let i = 0; ;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2])
        if (child < heap.length && before(heap[child]!, heap[least]!)) least = child;
      if (least === i) return top;
      [heap[i], heap[least]] = [heap[least]!, heap[i]!];
      i = least;
    }
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** A seeded generator: the same seed gives the same run. */
export function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
