/** Writing segments down: one tab at a time, under the ceilings, the list before the bytes. */
import type { Exclusive, Files } from "./files";
import { Ledger, type About, type Named } from "./ledger";

export interface Piece {
  readonly key: string;
  readonly about: About;
  readonly segment: number;
  readonly bytes: Uint8Array;
}

export interface Outcome {
  /** What is stored now, by whichever tab. */
  readonly ledger: Ledger;
  readonly stored: Named;
  readonly gone: Named;
  /** Not written, and not to be tried again. */
  readonly refused: Named;
}

export interface Rules {
  /** Bytes. */
  readonly limit: number;
  /** Milliseconds. */
  readonly maxAge: number;
  /** What the browser has and uses; it may not say. */
  estimate(): Promise<StorageEstimate>;
  /** Milliseconds since 1970. */
  date(): number;
}

const INDEX = "index";
/** Of what the browser leaves to what is stored here: the site may want some, too. */
const SHARE = 0.5;
/** Where the browser gave less than it said. */
const LESS = 0.75;
const MAX_FAILURES = 3;

export const nameOf = (key: string, segment: number): string => `${key}/${String(segment)}`;

export async function readLedger(files: Files): Promise<Ledger | null> {
  const bytes = await files.read(INDEX);
  return Ledger.parse(bytes && new TextDecoder().decode(bytes));
}

export class Writer {
  private limit: number;
  private failures = 0;

  constructor(
    private readonly files: Files,
    private readonly exclusive: Exclusive,
    private readonly rules: Rules,
  ) {
    this.limit = rules.limit;
  }

  /** The browser refuses everything: nothing more is written. */
  get full(): boolean {
    return this.failures >= MAX_FAILURES;
  }

  /**
   * @param used - Keys of contents that were watched just now.
   * @param broken - Segments to be taken out.
   * @returns Null: it was not this tab's turn for too long; nothing has happened.
   */
  async write(
    pieces: readonly Piece[],
    used: Iterable<string>,
    broken: Named,
  ): Promise<Outcome | null> {
    const nothing: StorageEstimate = {};
    const { usage = 0, quota = Infinity } = await this.rules.estimate().catch(() => nothing);
    const free = Math.max(0, quota - usage);
    return (await this.exclusive(() => this.turn(pieces, used, broken, free))) ?? null;
  }

  private async turn(
    pieces: readonly Piece[],
    used: Iterable<string>,
    broken: Named,
    free: number,
  ): Promise<Outcome> {
    const { files, rules } = this;
    const date = rules.date();
    let ledger = await readLedger(files);
    if (!ledger) {
      // Bytes that nothing lists would stay for ever.
      await files.wipe();
      ledger = new Ledger();
    }
    const gone: Named = new Map(broken);
    for (const [key, segments] of broken) ledger.drop(key, segments);
    const most = Math.min(this.limit, SHARE * (ledger.bytes + free));
    for (const { key, about, segment } of pieces) ledger.add(key, about, segment, date);
    for (const key of used) {
      const kept = ledger.contents.get(key);
      if (kept) kept.used = date;
    }
    join(gone, ledger.evict(most, date, rules.maxAge));
    await this.remove(gone);

    const wanted = pieces.filter(({ key, segment }) => ledger.has(key, segment));
    const refused: Named = new Map();
    for (const { key, segment } of pieces)
      if (!ledger.has(key, segment)) join(refused, new Map([[key, [segment]]]));
    const stored: Named = new Map();
    try {
      // What is listed and is not there is noticed when it is read. The other way round it never
      // would be: a page that ends in between must leave nothing behind that is not listed.
      await files.write(INDEX, String(ledger));
      for (const { key, segment, bytes } of wanted) {
        await files.write(nameOf(key, segment), bytes);
        join(stored, new Map([[key, [segment]]]));
      }
      if (wanted.length) this.failures = 0;
      // Not one fits under what the browser has given of late.
      else if (pieces.length && this.limit < rules.limit) this.failures++;
    } catch {
      // The disk is full, whatever was estimated: memory has to do.
      this.failures++;
      const rest: Named = new Map();
      for (const { key, segment } of wanted)
        if (!stored.get(key)?.includes(segment)) join(rest, new Map([[key, [segment]]]));
      for (const [key, segments] of rest) ledger.drop(key, segments);
      join(refused, rest);
      this.limit = LESS * Math.min(this.limit, ledger.bytes);
      const more = ledger.evict(this.limit, date, rules.maxAge);
      join(gone, more);
      without(stored, more);
      await this.remove(more);
      await files.write(INDEX, String(ledger)).catch(() => 0);
    }
    // What was wrong may have come again, and right.
    without(gone, stored);
    return { ledger, stored, gone, refused };
  }

  private async remove(segments: Named): Promise<void> {
    for (const [key, list] of segments)
      await this.files.remove(list.map((segment) => nameOf(key, segment)));
  }
}

function join(to: Named, from: Named): void {
  for (const [key, segments] of from) to.set(key, [...(to.get(key) ?? []), ...segments]);
}

function without(from: Named, others: Named): void {
  for (const [key, segments] of others) {
    const rest = from.get(key)?.filter((segment) => !segments.includes(segment));
    if (rest?.length) from.set(key, rest);
    else from.delete(key);
  }
}
