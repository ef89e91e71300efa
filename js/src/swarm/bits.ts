import type { Run } from "./wire";

/** Which segments are held; laid out as on the wire (first segment is the first byte's high bit). */
export class Bits {
  count = 0;
  readonly bytes: Uint8Array;

  constructor(
    readonly size: number,
    bytes?: Uint8Array,
  ) {
    this.bytes = bytes ?? new Uint8Array(Math.ceil(size / 8));
    if (bytes) for (let i = 0; i < size; i++) if (this.has(i)) this.count++;
  }

  has(i: number): boolean {
    return ((this.bytes[i >> 3] ?? 0) & (128 >> (i & 7))) !== 0;
  }

  /** Sets or clears one; true when that changed it. */
  put(i: number, held: boolean): boolean {
    if (i < 0 || i >= this.size || this.has(i) === held) return false;
    this.bytes[i >> 3] = (this.bytes[i >> 3] ?? 0) ^ (128 >> (i & 7));
    this.count += held ? 1 : -1;
    return true;
  }

  /** Whether it holds one that another, of the same size, does not. */
  beyond({ bytes }: Bits): boolean {
    return this.bytes.some((byte, i) => byte & ~(bytes[i] ?? 0));
  }

  runs(): Run[] {
    const held: number[] = [];
    for (let i = 0; i < this.size; i++) if (this.has(i)) held.push(i);
    return runsOf(held);
  }
}

/** Segment numbers as runs. */
export function runsOf(segments: Iterable<number>): Run[] {
  const runs: [number, number][] = [];
  for (const s of [...segments].sort((a, b) => a - b)) {
    const last = runs[runs.length - 1];
    if (last && last[0] + last[1] === s) last[1]++;
    else runs.push([s, 1]);
  }
  return runs;
}
