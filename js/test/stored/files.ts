/** A disk in memory that can be full, slow or cut off in the middle, and turns for several tabs. */
import type { Exclusive, Files } from "../../src/stored/files";

export class Drawer implements Files {
  readonly entries = new Map<string, Uint8Array<ArrayBuffer>>();
  /** Bytes that fit; what does not is refused as browsers do. */
  quota = Infinity;
  /** After so many more writes the page is gone: nothing is done, nothing returns. */
  dies = Infinity;
  /** Reads never answer. */
  hangs = false;
  reads = 0;
  writes = 0;

  get used(): number {
    let sum = 0;
    for (const [name, bytes] of this.entries) if (name !== "index") sum += bytes.length;
    return sum;
  }

  async read(name: string): Promise<Uint8Array<ArrayBuffer> | null> {
    this.reads++;
    if (this.hangs) await new Promise(() => undefined);
    await Promise.resolve();
    return this.entries.get(name)?.slice() ?? null;
  }

  async write(name: string, data: Uint8Array | string): Promise<void> {
    if (this.dies-- <= 0) await new Promise(() => undefined);
    await Promise.resolve();
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data.slice();
    const others = this.used - (this.entries.get(name)?.length ?? 0);
    if (name !== "index" && others + bytes.length > this.quota)
      throw new DOMException("Quota exceeded.", "QuotaExceededError");
    this.writes++;
    this.entries.set(name, bytes);
  }

  async remove(names: Iterable<string>): Promise<void> {
    await Promise.resolve();
    for (const name of names) this.entries.delete(name);
  }

  async wipe(): Promise<void> {
    await Promise.resolve();
    this.entries.clear();
  }

  /** The segments that are there, by name. */
  get names(): string[] {
    return [...this.entries.keys()].filter((name) => name !== "index").sort();
  }
}

/** One turn after another, as Web Locks give them. */
export function turns(): Exclusive {
  let last: Promise<unknown> = Promise.resolve();
  return <T>(work: () => Promise<T>): Promise<T> => {
    const mine = last.then(work, work);
    last = mine.catch(() => undefined);
    return mine;
  };
}
