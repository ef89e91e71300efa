import type { Content } from "../../src/engine";

/** Bytes that differ at every place, so that a shifted answer is seen. */
export function pattern(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = (i * 31 + (i >> 8) * 7) & 255;
  return bytes;
}

export interface Readings {
  /** How many bytes were taken out of the content. */
  taken: number;
  /** How many reads were ended by their reader. */
  aborted: number;
}

/** A content in memory that is read in pieces of `step` bytes. */
export function memoryContent(
  bytes: Uint8Array,
  { step = 1000, before }: { step?: number; before?: (at: number) => Promise<void> | void } = {},
): Content & Readings {
  const content = {
    url: "http://site/a.mp4",
    key: "k",
    size: bytes.length,
    type: "video/mp4",
    taken: 0,
    aborted: 0,
    async *read(start: number, end: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
      signal.addEventListener("abort", () => content.aborted++);
      for (let at = start; at < end; at += step) {
        await before?.(at);
        const piece = bytes.subarray(at, Math.min(end, at + step));
        content.taken += piece.length;
        yield piece;
      }
    },
    attach: () => () => undefined,
    stats: () => {
      throw new Error("not asked here");
    },
  };
  return content;
}
