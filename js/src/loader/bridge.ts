import type { Content } from "../engine";
import {
  ALIVE,
  CANCEL,
  END,
  FAILED,
  NOT_MINE,
  PING,
  PULL,
  type Ask,
  type FromPage,
  type FromWorker,
} from "../worker/protocol";
import { part } from "./range";

/** Pieces larger than this are cut: the worker pulls by piece, and a seek should cost little. */
const PIECE_BYTES = 256 * 1024;

export interface BridgeHost {
  /** The content behind a URL, or null where the network shall answer. */
  content(url: string): Promise<Content | null>;
  /** The network answers this one. */
  passed(url: string): void;
  /** An answer's bytes begin to be read. */
  opened(url: string, content: Content): void;
  /** The worker has waited `stallMs` for the byte at `offset`; `still` says whether it yet does. */
  stalled(url: string, offset: number, still: () => boolean): void;
  readonly stallMs: number;
}

/** The page's end of the worker's questions: byte ranges of contents, read as they are pulled. */
export class Bridge {
  readonly #open = new Set<Answer>();
  readonly #host: BridgeHost;

  constructor(host: BridgeHost) {
    this.#host = host;
  }

  /** Answers under way. */
  get open(): number {
    return this.#open.size;
  }

  answer(question: Ask, port: MessagePort): void {
    const answer = new Answer(question, port, this.#host, () => this.#open.delete(answer));
    this.#open.add(answer);
  }

  /** End every answer for a URL with an error, so that the browser asks again. */
  break(url: string): void {
    for (const answer of this.#open) if (answer.url === url) answer.end(FAILED);
  }
}

class Answer {
  readonly url: string;
  readonly #port: MessagePort;
  readonly #host: BridgeHost;
  readonly #done: () => void;
  readonly #abort = new AbortController();
  #content: Content | undefined;
  #pieces: AsyncIterator<Uint8Array, void> | undefined;
  #rest: Uint8Array = new Uint8Array(0);
  #offset = 0;
  #end = 0;
  #pulls = 0;

  constructor(question: Ask, port: MessagePort, host: BridgeHost, done: () => void) {
    this.url = question.url;
    this.#port = port;
    this.#host = host;
    this.#done = done;
    port.onmessage = ({ data }: MessageEvent<FromWorker>): void => {
      // The first PULL says what the head has said: its piece is on its way.
      if (data === PULL) void (this.#pulls++ && this.#next());
      else if (data === PING) this.#say(ALIVE);
      else this.end(CANCEL);
    };
    this.#say(ALIVE);
    void this.#start(question.range);
  }

  /** Say a last word (none after CANCEL) and let everything go. */
  end(word: typeof END | typeof FAILED | typeof NOT_MINE | typeof CANCEL): void {
    if (this.#abort.signal.aborted) return;
    if (word !== CANCEL) this.#say(word);
    // Before it has a head the worker cancels only what it can wait for no longer.
    if (!this.#content) this.#host.passed(this.url);
    this.#abort.abort();
    this.#done();
    // Closing at once could overtake the last word in some browsers.
    setTimeout(() => {
      this.#port.close();
    }, 1000);
  }

  #say(word: FromPage, transfer: Transferable[] = []): void {
    this.#port.postMessage(word, transfer);
  }

  async #start(range: string | null): Promise<void> {
    try {
      const content = await this.#host.content(this.url);
      const what = content && part(range, content.size, content.type);
      if (this.#abort.signal.aborted) return;
      if (!content || !what) {
        this.end(NOT_MINE);
        return;
      }
      this.#offset = what.start;
      this.#end = what.end;
      this.#content = content;
      this.#say({ status: what.status, headers: what.headers, body: what.status !== 416 });
      if (what.status === 416) this.end(CANCEL);
      else {
        this.#host.opened(this.url, content);
        void this.#next();
      }
    } catch {
      this.end(NOT_MINE);
    }
  }

  async #next(): Promise<void> {
    const { signal } = this.#abort;
    const content = this.#content;
    if (signal.aborted || !content) return;
    let waiting = true;
    const stall = setTimeout(() => {
      this.#host.stalled(this.url, this.#offset, () => waiting && !signal.aborted);
    }, this.#host.stallMs);
    try {
      this.#pieces ??= content.read(this.#offset, this.#end, signal)[Symbol.asyncIterator]();
      while (!this.#rest.length && this.#offset < this.#end) {
        const next: IteratorResult<Uint8Array, void> = await this.#pieces.next();
        // An engine that ends early must not look like a whole resource to the player.
        if (next.done) throw new Error("too short");
        this.#rest = next.value;
      }
      if (this.#abort.signal.aborted) return;
      const length = Math.min(this.#rest.length, PIECE_BYTES, this.#end - this.#offset);
      // A copy: the bytes belong to the engine's store, and a transfer would take them away.
      const piece = this.#rest.slice(0, length);
      this.#rest = this.#rest.subarray(length);
      this.#offset += length;
      if (length) this.#say(piece, [piece.buffer]);
      if (this.#offset === this.#end) this.end(END);
    } catch {
      this.end(FAILED);
    } finally {
      waiting = false;
      clearTimeout(stall);
    }
  }
}
