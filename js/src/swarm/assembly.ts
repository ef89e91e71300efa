/** Where bytes came from: the origin ("" by convention), or a peer's id. */
export type Source = string;
export const ORIGIN: Source = "";

interface Part {
  from: number;
  to: number;
  source: Source;
}

/** A half-open byte range [from, to). */
export type Span = readonly [number, number];

/** `span` without what `others` cover. */
export function subtract(span: Span, others: Iterable<Span>): Span[] {
  let rest: Span[] = [span];
  for (const [from, to] of others) {
    if (from >= span[1] || to <= span[0]) continue;
    rest = rest.flatMap(([a, b]) => {
      if (from >= b || to <= a) return [[a, b] as const];
      const both: Span[] = [
        [a, Math.min(from, b)],
        [Math.max(to, a), b],
      ];
      return both.filter(([x, y]) => x < y);
    });
  }
  return rest;
}

/**
 * One segment in the making: bytes from any mix of sources, each byte's source remembered, so
 * that the origin's can be played at once and a lying peer's be told from an honest one's.
 */
export class Assembly {
  readonly data: Uint8Array<ArrayBuffer>;
  private parts: Part[] = [];
  /** What peers sent into an assembly that failed: compared with the truth once it is known. */
  private suspects: { source: Source; offset: number; bytes: Uint8Array }[] = [];
  /** After a failure of several sources together only the origin is asked. */
  originOnly = false;
  /** Checked by hash at this moment. */
  checking = false;

  constructor(length: number) {
    this.data = new Uint8Array(length);
  }

  /** Fills what is still missing; what came first stays. Returns the number of new bytes. */
  add(offset: number, bytes: Uint8Array, source: Source): number {
    let fresh = 0;
    for (const [from, to] of this.gaps(offset, offset + bytes.length)) {
      this.data.set(bytes.subarray(from - offset, to - offset), from);
      this.parts.push({ from, to, source });
      fresh += to - from;
    }
    this.parts.sort((a, b) => a.from - b.from);
    const merged: Part[] = [];
    for (const p of this.parts) {
      const last = merged[merged.length - 1];
      if (last?.to === p.from && last.source === p.source) last.to = p.to;
      else merged.push(p);
    }
    this.parts = merged;
    return fresh;
  }

  gaps(from = 0, to = this.data.length): Span[] {
    return subtract(
      [from, Math.min(to, this.data.length)],
      this.parts.map((p) => [p.from, p.to] as const),
    );
  }

  /** End of the origin's bytes that begin at or cover `offset`; `offset` where there are none. */
  trustedTo(offset: number): number {
    for (const p of this.parts)
      if (p.source === ORIGIN && p.from <= offset && p.to > offset) return p.to;
    return offset;
  }

  /** Bytes by source. */
  shares(): Map<Source, number> {
    const shares = new Map<Source, number>();
    for (const p of this.parts) shares.set(p.source, (shares.get(p.source) ?? 0) + p.to - p.from);
    return shares;
  }

  /** After a failed check: keeps the origin's bytes, sets the peers' aside as suspects. */
  distrust(): void {
    for (const p of this.parts)
      if (p.source !== ORIGIN)
        this.suspects.push({
          source: p.source,
          offset: p.from,
          bytes: this.data.slice(p.from, p.to),
        });
    this.parts = this.parts.filter((p) => p.source === ORIGIN);
  }

  /** The sources whose earlier bytes differ from the data, which is now known to be true. */
  liars(): Set<Source> {
    return new Set(
      this.suspects
        .filter((s) => s.bytes.some((b, i) => b !== this.data[s.offset + i]))
        .map((s) => s.source),
    );
  }
}
