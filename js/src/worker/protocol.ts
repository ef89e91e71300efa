/**
 * What the worker and the page say to each other over one MessagePort per media request.
 *
 * The worker asks with an `Ask` and a port. On that port the page says ALIVE, then NOT_MINE or a
 * `Head`; for every PULL one piece of bytes (a Uint8Array), END or FAILED; the first piece follows
 * its `Head` without waiting for the PULL that is sure to come. While a PULL waits the
 * worker may say PING and wants an ALIVE: a page that is only slow is told from one that is gone.
 */
export interface Ask {
  readonly p2pcdn: "ask";
  readonly url: string;
  readonly range: string | null;
}

export interface Head {
  readonly status: number;
  readonly headers: Record<string, string>;
  /** False where the answer has no body (416). */
  readonly body: boolean;
}

/**
 * From the worker to a page that has just said hello: a player of it got the beginning of a
 * resource from the network, before there was a loader to be asked.
 */
export interface Begun {
  readonly p2pcdn: "begun";
  readonly url: string;
  readonly bytes: ArrayBuffer;
  /** Milliseconds from the question to their last. */
  readonly ms: number;
}

/** From the page, outside of an answer. */
export type Note =
  /**
   * A loader runs in this page: do not take it for a silent one. `begin`: absolute URLs of videos
   * that begin before its engine is there. Their players had better get the beginning from the
   * worker. `loading`: it is the page's own code that says so, the loader is on its way
   * (p2pcdn/page/inject.py). Each hello says all anew.
   */
  | { readonly p2pcdn: "hello"; readonly begin?: readonly string[]; readonly loading?: boolean }
  /** An answer is under way: the browser must not take the worker for idle. */
  | { readonly p2pcdn: "alive" }
  /** Are you a worker of ours? Answered on the port. */
  | { readonly p2pcdn: "ping" };

// page -> worker
export const ALIVE = 0;
export const NOT_MINE = 1;
export const END = 2;
export const FAILED = 3;
// worker -> page
export const PULL = 4;
export const PING = 5;
export const CANCEL = 6;

export type FromPage =
  Head | Uint8Array<ArrayBuffer> | typeof ALIVE | typeof NOT_MINE | typeof END | typeof FAILED;
export type FromWorker = typeof PULL | typeof PING | typeof CANCEL;
