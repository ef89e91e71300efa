import { ORIGIN_MARK, type Content } from "../engine";
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
import { part, passing } from "./range";

/** Pieces larger than this are cut: the worker pulls by piece, and a seek should cost little. */
const PIECE_BYTES = 256 * 1024;
/** Less than the silence that the worker bears. */
const ALIVE_MS = 1500;

export interface BridgeHost {
  /**
   * The content behind a URL, or null where the network shall answer. A number where that is not
   * known yet and its player needs bytes: so many of the network's pass through us, and it asks
   * again.
   */
  content(url: string, range: string | null, signal: AbortSignal): Promise<Content | null | number>;
  /** Bytes of a resource from `at` on have passed. */
  through(url: string, bytes: Uint8Array, at: number): void;
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

  /** Whether an answer for a URL is under way. */
  answers(url: string): boolean {
    return [...this.#open].some((answer) => answer.url === url);
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
  /** Its head has gone out. */
  #begun = false;
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
    if (!this.#begun) this.#host.passed(this.url);
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
    const { signal } = this.#abort;
    // The worker takes a page for gone that says nothing.
    const alive = setInterval(() => {
      this.#say(ALIVE);
    }, ALIVE_MS);
    try {
      const content = await this.#host.content(this.url, range, signal);
      if (typeof content === "number") {
        await this.#pass(range, content);
        return;
      }
      const what = content && part(range, content.size, content.type);
      if (signal.aborted) return;
      if (!content || !what) {
        this.end(NOT_MINE);
        return;
      }
      this.#begin(what.start, what.end, what.status, what.headers);
      if (what.status === 416) this.end(CANCEL);
      else {
        this.#host.opened(this.url, content);
        this.#pieces = content.read(what.start, what.end, signal)[Symbol.asyncIterator]();
        void this.#next();
      }
    } catch {
      this.end(NOT_MINE);
    } finally {
      clearInterval(alive);
    }
  }

  #begin(start: number, end: number, status: number, headers: Record<string, string>): void {
    this.#begun = true;
    this.#offset = start;
    this.#end = end;
    this.#say({ status, headers, body: status !== 416 });
  }

  /** Answers with some of the network's bytes. */
  async #pass(range: string | null, bytes: number): Promise<void> {
    const { signal } = this.#abort;
    const asked = passing(range, bytes);
    if (asked) {
      const [first, to] = asked;
      const { status, body, headers } = await fetch(this.url + ORIGIN_MARK, {
        headers: { Range: `bytes=${first}-${to}` },
        redirect: "error",
        signal,
      });
      const type = headers.get("content-type");
      const found = headers.get("content-range");
      const [, start, end] = /^bytes (\d+)-(\d+)\/\d+$/.exec(found ?? "") ?? [];
      if (status === 206 && body && type && found && start === first && Number(end) <= Number(to)) {
        const [at, stop] = [Number(start), Number(end) + 1];
        const kept = !headers.get("cache-control")?.includes("no-store");
        this.#pieces = this.#through(body.getReader(), at, stop, kept);
        this.#begin(at, stop, status, {
          "Content-Type": type,
          "Content-Range": found,
          "Content-Length": String(stop - at),
          "Accept-Ranges": "bytes",
        });
        void this.#next();
        return;
      }
      void body?.cancel();
    }
    this.end(NOT_MINE);
  }

  async *#through(
    reader: ReadableStreamDefaultReader<Uint8Array>,
    at: number,
    end: number,
    kept: boolean,
  ): AsyncGenerator<Uint8Array, void> {
    const all = new Uint8Array(end - at);
    let count = 0;
    while (count < all.length) {
      const { done, value } = await reader.read();
      if (done) return;
      const bytes = value.subarray(0, all.length - count);
      all.set(bytes, count);
      count += bytes.length;
      // Before its last piece: the player may ask for what follows as soon as it has that.
      if (kept && count === all.length) this.#host.through(this.url, all, at);
      yield bytes;
    }
  }

  async #next(): Promise<void> {
    const { signal } = this.#abort;
    if (signal.aborted || !this.#pieces) return;
    let waiting = true;
    const stall = setTimeout(() => {
      this.#host.stalled(this.url, this.#offset, () => waiting && !signal.aborted);
    }, this.#host.stallMs);
    try {
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
