/* eslint @typescript-eslint/restrict-template-expressions: ["error", { "allowNumber": true }] */
/** The site's static route in virtual time. */
import type { Clock } from "./clock";
import { arrive, type Line } from "./lines";

const CHUNK = 8192;

interface Answer {
  at: number;
  readonly to: number;
  readonly line: Line;
  readonly body: Body;
}

/** As much of a response's body as is read, without the cost of a real stream. */
class Body {
  private readonly pieces: Uint8Array[] = [];
  private over = false;
  private error: unknown;
  private wake: (() => void) | undefined;

  push(piece: Uint8Array | null, error?: unknown): void {
    if (piece) this.pieces.push(piece);
    else this.over = true;
    this.error ??= error;
    this.wake?.();
    this.wake = undefined;
  }

  getReader(): unknown {
    return {
      read: async () => {
        while (!this.pieces.length && !this.over)
          await new Promise<void>((wake) => (this.wake = wake));
        if (this.error) throw this.error as Error;
        const value = this.pieces.shift();
        return value ? { done: false, value } : { done: true };
      },
      cancel: () => Promise.resolve(),
    };
  }
}

/** One uplink that all answers under way share equally. */
export class OriginServer {
  sent = 0;
  requests = 0;
  private readonly answers: Answer[] = [];
  private serving = false;

  constructor(
    private readonly clock: Clock,
    readonly file: Uint8Array,
    /** Bytes per second. */
    private readonly capacity: number,
    readonly latency: number,
  ) {}

  async answer(line: Line, range: string, signal: AbortSignal | undefined): Promise<Response> {
    this.requests++;
    const [, a, b] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
    const from = Number(a);
    const to = Math.min(this.file.length, Number(b) + 1);
    await this.clock.sleep(2 * (this.latency + line.latency));
    signal?.throwIfAborted();
    const body = new Body();
    const answer: Answer = { at: from, to, line, body };
    this.answers.push(answer);
    signal?.addEventListener("abort", () => {
      const at = this.answers.indexOf(answer);
      if (at >= 0) this.answers.splice(at, 1);
      body.push(null, signal.reason);
    });
    if (!this.serving) this.serve();
    const headers = new Map([["content-range", `bytes ${from}-${to - 1}/${this.file.length}`]]);
    return { ok: true, status: 206, headers, body } as unknown as Response;
  }

  private serve(): void {
    const answer = this.answers.shift();
    this.serving = answer !== undefined;
    if (!answer) return;
    const { line, body, to } = answer;
    const chunk = this.file.subarray(answer.at, Math.min(to, answer.at + CHUNK));
    answer.at += chunk.length;
    this.sent += chunk.length;
    const done = answer.at >= to;
    this.clock.in(chunk.length / this.capacity, () => {
      this.clock.in(this.latency + line.latency, () => {
        arrive(this.clock, line, chunk.length, () => {
          if (line.dead) return;
          body.push(chunk);
          if (done) body.push(null);
        });
      });
      if (!done) this.answers.push(answer);
      this.serve();
    });
  }
}
