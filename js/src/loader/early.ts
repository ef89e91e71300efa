import { FIRST_BYTES, ORIGIN_MARK, STORED_KEY } from "../engine";
import { manifestUrl } from "../swarm/manifest";

/** What the engine has not asked for by then is given up. */
const PATIENCE_MS = 4000;

interface Asked {
  readonly answer: Promise<Response>;
  readonly abort: AbortController;
}

/**
 * What the engine is about to ask, asked while its script is still on the way.
 *
 * A start is a chain of round trips: the engine, the manifest, the first bytes, and the worker
 * beside them. Here they go out together. The engine takes the answers by its `fetch`; whatever
 * was not foreseen goes to the network as ever.
 */
export class Early {
  /** The peer's id, which the manifest's admission token is made for. */
  readonly id: string;
  /** What this browser has stored, as far as it is known before any script of ours is there. */
  readonly stored: string = "";
  readonly #base: URL;
  readonly #asked = new Map<string, Asked>();

  constructor(base: URL) {
    this.#base = base;
    this.id = crypto.getRandomValues(new Uint32Array(4)).join("-");
    try {
      this.stored = localStorage.getItem(STORED_KEY) ?? "";
    } catch {
      // Storage is blocked: nothing can be stored either.
    }
  }

  readonly fetch: typeof globalThis.fetch = async (input, init = {}) => {
    const url = input instanceof Request ? input.url : String(input);
    const asked = this.#asked.get(url);
    if (!asked) return fetch(input, init);
    this.#asked.delete(url);
    const { signal, headers } = init;
    const stop = (): void => {
      asked.abort.abort(signal?.reason);
    };
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop);
    const range = new Headers(headers).get("range");
    const answer = await asked.answer.catch(() => null);
    const got = answer?.headers.get("content-range")?.replace(/\/.*/, "").replace(" ", "=");
    if (answer && (!range || answer.status === 200 || got === range)) return answer;
    // Unread, it would keep the other one waiting in the browser's cache.
    stop();
    return fetch(input, init);
  };

  /** Ask for a video's manifest. */
  manifest(url: string, playlists: readonly string[]): void {
    this.#ask(manifestUrl(this.#base, url, this.id, playlists), { cache: "no-store" });
  }

  /** Ask for a video's first bytes, for as long as the signal is not aborted. */
  bytes(url: string, until: AbortSignal): void {
    const headers = { Range: `bytes=0-${String(FIRST_BYTES - 1)}` };
    if (!this.stored.includes(url)) this.#ask(url + ORIGIN_MARK, { headers }, until);
  }

  #ask(url: string, init: RequestInit, until?: AbortSignal): void {
    if (this.#asked.has(url) || until?.aborted) return;
    const abort = new AbortController();
    const asked = { answer: fetch(url, { ...init, signal: abort.signal }), abort };
    asked.answer.catch(() => 0);
    this.#asked.set(url, asked);
    const drop = (): void => {
      if (this.#asked.get(url) !== asked) return;
      this.#asked.delete(url);
      abort.abort();
    };
    until?.addEventListener("abort", drop);
    setTimeout(drop, PATIENCE_MS);
  }
}
