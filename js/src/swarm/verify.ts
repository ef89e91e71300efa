/** Bytes of one SHA-256. */
const DIGEST = 32;

/** The manifest's SHA-256 list. */
export class Hashes {
  constructor(
    private readonly list: Uint8Array,
    private readonly subtle: Pick<SubtleCrypto, "digest">,
  ) {}

  /** Whether these are the bytes of that segment. */
  async fits(segment: number, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
    const digest = new Uint8Array(await this.subtle.digest("SHA-256", bytes));
    const at = segment * DIGEST;
    return at + DIGEST <= this.list.length && digest.every((b, i) => b === this.list[at + i]);
  }
}
