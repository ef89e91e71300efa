import { STORED_KEY } from "../engine";
import { manifestUrl, PATIENCE_MS } from "../swarm/manifest";

/** URLs of which the beginning is stored in this browser, line by line. */
export function stored(): string {
  try {
    return localStorage.getItem(STORED_KEY) ?? "";
  } catch {
    return ""; // storage is blocked: nothing can have been stored either
  }
}

/**
 * What the engine is about to ask, asked while its script is still on the way: one round trip less
 * until it can answer. It takes the answers by its `fetch`; whatever was not foreseen goes to the
 * network as ever.
 */
export class Early {
  /** The peer's id, which the manifest's admission token is made for. */
  readonly id = crypto.getRandomValues(new Uint32Array(4)).join("-");
  readonly stored = stored();
  readonly #base: URL;
  readonly #asked = new Map<string, Promise<Response | null>>();

  constructor(base: URL) {
    this.#base = base;
  }

  readonly fetch: typeof globalThis.fetch = async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    const asked = this.#asked.get(url);
    this.#asked.delete(url);
    return (await asked) ?? fetch(input, init);
  };

  /** Ask for a video's manifest. */
  manifest(url: string, playlists: readonly string[]): void {
    const question = manifestUrl(this.#base, url, this.id, playlists);
    const init: RequestInit = { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) };
    if (!this.#asked.has(question))
      this.#asked.set(
        question,
        fetch(question, init).catch(() => null),
      );
  }
}
