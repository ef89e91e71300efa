/* eslint-disable @typescript-eslint/no-non-null-assertion -- a test that fails there fails rightly */
/* eslint @typescript-eslint/restrict-template-expressions: ["error", { "allowNumber": true }] */
/** Data channels and an origin in virtual time: rates, latencies, queues. */
import type { Clock } from "./clock";

/** A visitor's line; bytes per second. */
export interface Line {
  readonly up: number;
  readonly down: number;
  readonly latency: number;
  upFree: number;
  downFree: number;
}

export const line = (up: number, down: number, latency: number): Line => ({
  up,
  down,
  latency,
  upFree: 0,
  downFree: 0,
});

/** When bytes sent now over two lines have left the first, and are at the end of the second. */
function transfer(clock: Clock, from: Line, to: Line, bytes: number): [number, number] {
  const left = (from.upFree = Math.max(clock.now, from.upFree) + bytes / from.up);
  const arrives = left + from.latency + to.latency;
  return [left, (to.downFree = Math.max(arrives, to.downFree) + bytes / to.down)];
}

class Channel {
  readyState = "connecting";
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  binaryType = "";
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  onbufferedamountlow: (() => void) | null = null;
  other: Channel | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly line: Line,
  ) {}

  open(other: Channel): void {
    this.other = other;
    this.readyState = "open";
    this.onopen?.();
  }

  send(data: ArrayBuffer): void {
    const { other, clock } = this;
    if (!other) throw new Error("not open");
    const size = data.byteLength + 60;
    const [left, arrives] = transfer(clock, this.line, other.line, size);
    this.bufferedAmount += size;
    clock.at(left, () => {
      const above = this.bufferedAmount > this.bufferedAmountLowThreshold;
      this.bufferedAmount -= size;
      if (above && this.bufferedAmount <= this.bufferedAmountLowThreshold) {
        this.onbufferedamountlow?.();
      }
    });
    clock.at(arrives, () => {
      if (other.readyState === "open" && this.readyState !== "cut") other.onmessage?.({ data });
    });
  }

  close(): void {
    if (this.readyState === "closed") return;
    this.readyState = "closed";
    this.onclose?.();
  }
}

/** As much of RTCPeerConnection as the links use. */
export function connections(clock: Clock, lines: Map<unknown, Line>) {
  const all = new Map<string, Connection>();
  let count = 0;
  class Connection {
    readonly name = String(++count);
    localDescription: RTCSessionDescriptionInit | null = null;
    connectionState = "new";
    onicecandidate: unknown = null;
    onconnectionstatechange: (() => void) | null = null;
    channel: Channel | undefined;
    peer: Connection | undefined;
    readonly line: Line;

    constructor(readonly owner: unknown) {
      this.line = lines.get(owner)!;
      all.set(this.name, this);
    }
    createDataChannel(): Channel {
      return (this.channel = new Channel(clock, this.line));
    }
    createOffer(): Promise<RTCSessionDescriptionInit> {
      return Promise.resolve({ type: "offer", sdp: this.name });
    }
    createAnswer(): Promise<RTCSessionDescriptionInit> {
      return Promise.resolve({ type: "answer", sdp: this.name });
    }
    setLocalDescription(description: RTCSessionDescriptionInit): Promise<void> {
      this.localDescription = description;
      return Promise.resolve();
    }
    setRemoteDescription({ type, sdp }: RTCSessionDescriptionInit): Promise<void> {
      const other = all.get(sdp ?? "");
      this.peer = other;
      if (type === "answer" && other) {
        // ICE, DTLS, SCTP: some round trips.
        clock.in(6 * (this.line.latency + other.line.latency), () => {
          if (this.connectionState === "closed" || other.connectionState === "closed") return;
          this.channel!.open(other.channel!);
          other.channel!.open(this.channel!);
        });
      }
      return Promise.resolve();
    }
    addIceCandidate(): Promise<void> {
      return Promise.resolve();
    }
    close(): void {
      if (this.connectionState === "closed") return;
      this.connectionState = "closed";
      all.delete(this.name);
      this.channel?.close();
      const { peer } = this;
      if (peer) clock.in(this.line.latency, () => peer.channel?.close());
    }
    /** The visitor is gone without a word. */
    cut(): void {
      if (this.channel) this.channel.readyState = "cut";
    }
  }
  /** A constructor bound to one visitor. */
  const of = (owner: unknown): typeof RTCPeerConnection =>
    class extends Connection {
      constructor() {
        super(owner);
      }
    } as unknown as typeof RTCPeerConnection;
  const cut = (owner: unknown): void => {
    for (const connection of all.values()) if (connection.owner === owner) connection.cut();
  };
  return { of, cut };
}

interface Answer {
  at: number;
  readonly to: number;
  readonly line: Line;
  readonly controller: ReadableStreamDefaultController<Uint8Array>;
}

/** A static route with one uplink that all answers under way share equally. */
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
    private readonly latency: number,
  ) {}

  async answer(line: Line, range: string, signal: AbortSignal | undefined): Promise<Response> {
    this.requests++;
    const [, a, b] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
    const from = Number(a);
    const to = Math.min(this.file.length, Number(b) + 1);
    await this.clock.sleep(2 * (this.latency + line.latency));
    signal?.throwIfAborted();
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        const answer: Answer = { at: from, to, line, controller };
        this.answers.push(answer);
        signal?.addEventListener("abort", () => {
          const at = this.answers.indexOf(answer);
          if (at >= 0) this.answers.splice(at, 1);
          controller.error(signal.reason);
        });
        if (!this.serving) this.serve();
      },
    });
    const headers = { "Content-Range": `bytes ${from}-${to - 1}/${this.file.length}` };
    return new Response(body, { status: 206, headers });
  }

  private serve(): void {
    const answer = this.answers.shift();
    this.serving = answer !== undefined;
    if (!answer) return;
    const { line, controller, to } = answer;
    const chunk = this.file.slice(answer.at, Math.min(to, answer.at + 8192));
    answer.at += chunk.length;
    this.sent += chunk.length;
    this.clock.in(chunk.length / this.capacity, () => {
      line.downFree = Math.max(this.clock.now, line.downFree) + chunk.length / line.down;
      this.clock.at(line.downFree + this.latency, () => {
        try {
          controller.enqueue(chunk);
          if (answer.at >= to && chunk.length && done) controller.close();
        } catch {
          // It was given up.
        }
      });
      const done = answer.at >= to;
      if (!done) this.answers.push(answer);
      this.serve();
    });
  }
}
