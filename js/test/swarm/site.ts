/* eslint-disable @typescript-eslint/no-non-null-assertion -- a test that fails there fails rightly */
/* eslint @typescript-eslint/restrict-template-expressions: ["error", { "allowNumber": true }] */
/** A small real site on a real port: manifest, a file by Range, a mailbox coordinator. */
import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createRequire } from "node:module";
import { Mailboxes } from "../sim/coordinator";
import { createEngine, type EngineDeps } from "../../src/swarm/engine";
import type { LoaderConfig } from "../../src/config";
import type { Engine, EngineStats, Playback } from "../../src/engine";

const require = createRequire(new URL("../../../tests/browser/package.json", import.meta.url));
export const wrtc = require("@roamhq/wrtc") as {
  RTCPeerConnection: typeof globalThis.RTCPeerConnection;
};

export interface SiteOptions {
  size?: number;
  segmentBytes?: number;
}

export class Site {
  readonly file: Buffer;
  readonly segmentBytes: number;
  /** What the media route serves, when it is not the hashed file any more. */
  served: Buffer;
  /** Bytes of media that left the site. */
  sent = 0;
  /** What became of each media answer. */
  readonly log: string[] = [];
  requests: (string | undefined)[] = [];
  ignoreRange = false;
  mediaStatus = 0;
  manifestStatus = 200;
  manifestAsked = 0;
  retryAfter = 0.05;
  coordinatorDown = false;
  /** Milliseconds before a media answer. */
  delayMs = 0;
  /** Bytes per second of each media answer; 0: unlimited. */
  throttle = 0;
  /** Bytes per second of all media answers together; 0: unlimited. */
  capacity = 0;
  private freeAt = 0;
  readonly coordinator = new Mailboxes(0.05);
  private readonly server = createServer((req, res) => void this.handle(req, res));
  private base = "";
  private readonly engines: Engine[] = [];

  constructor({ size = 1_000_000, segmentBytes = 65536 }: SiteOptions = {}) {
    this.file = this.served = randomBytes(size);
    this.segmentBytes = segmentBytes;
  }

  async start(): Promise<this> {
    await new Promise<void>((done) => this.server.listen(0, "127.0.0.1", done));
    this.base = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    return this;
  }

  async stop(): Promise<void> {
    for (const engine of this.engines) engine.close();
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  get url(): string {
    return `${this.base}/media/a.mp4`;
  }

  get key(): string {
    return createHash("md5").update(this.hashes()).digest("hex");
  }

  hashes(): Buffer {
    const list: Buffer[] = [];
    for (let at = 0; at < this.file.length; at += this.segmentBytes) {
      const part = this.file.subarray(at, at + this.segmentBytes);
      list.push(createHash("sha256").update(part).digest());
    }
    return Buffer.concat(list);
  }

  visitor(deps: Partial<EngineDeps> = {}, settings: Partial<LoaderConfig> = {}): Engine {
    const config: LoaderConfig = {
      version: "test",
      coordinator: "../peerjs",
      scope: "../",
      key: "peerjs",
      socket: false,
      ice: [],
      relayOnly: false,
      uploadLimit: null,
      memoryLimit: 256 * 2 ** 20,
      diskLimit: 0,
      diskDays: 7,
      startupWaitMs: 1000,
      hud: false,
      patterns: [],
      ...settings,
    };
    const engine = createEngine(config, new URL(`${this.base}/p2pcdn/loader.js`), {
      fetch: (input, init) => fetch(input, init),
      WebSocket: undefined,
      RTCPeerConnection: wrtc.RTCPeerConnection,
      subtle: crypto.subtle,
      sendBeacon: undefined,
      now: () => performance.now() / 1000,
      random: () => Math.random(),
      connection: () => undefined,
      mobile: false,
      ...deps,
    });
    this.engines.push(engine);
    return engine;
  }

  private async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = new URL(req.url ?? "/", this.base);
    const json = (status: number, body: unknown): void => {
      res.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
    };
    if (url.pathname === "/p2pcdn/manifest") {
      this.manifestAsked++;
      if (this.manifestStatus !== 200) {
        json(this.manifestStatus, { retry_after: this.retryAfter });
        return;
      }
      json(200, {
        key: this.key,
        url: "/media/a.mp4",
        size: this.file.length,
        type: "video/mp4",
        segment_bytes: this.segmentBytes,
        hashes: this.hashes().toString("base64"),
        token: "t",
        expires: Date.now() / 1000 + 3600,
      });
      return;
    }
    if (url.pathname === "/peerjs/mailbox") {
      if (this.coordinatorDown) return void req.socket.destroy();
      const chunks: Buffer[] = [];
      for await (const chunk of req) chunks.push(chunk as Buffer);
      json(200, this.coordinator.post(JSON.parse(Buffer.concat(chunks).toString()) as never));
      return;
    }
    await this.media(req, res);
  }

  private async media(req: IncomingMessage, res: ServerResponse): Promise<void> {
    this.requests.push(req.headers.range);
    if (this.delayMs) await new Promise((done) => setTimeout(done, this.delayMs));
    if (this.mediaStatus) return void res.writeHead(this.mediaStatus).end();
    const range = /^bytes=(\d+)-(\d+)$/.exec(req.headers.range ?? "");
    const { length } = this.served;
    let [from, to] = [0, length];
    if (range && !this.ignoreRange) {
      [from, to] = [Number(range[1]), Math.min(length, Number(range[2]) + 1)];
      const headers = { "Content-Range": `bytes ${from}-${to - 1}/${length}` };
      res.writeHead(206, { ...headers, "Content-Length": to - from });
    } else res.writeHead(200, { "Content-Length": length });
    let sentHere = 0;
    const step = this.capacity
      ? 4096
      : this.throttle
        ? Math.max(1, Math.floor(this.throttle / 50))
        : 16384;
    for (let at = from; at < to && !res.destroyed; at += step) {
      const chunk = this.served.subarray(at, Math.min(to, at + step));
      this.sent += chunk.length;
      sentHere += chunk.length;
      if (!res.write(chunk)) {
        await new Promise<void>((done) => {
          const go = (): void => {
            res.off("drain", go).off("close", go);
            done();
          };
          res.once("drain", go).once("close", go);
        });
      }
      if (this.capacity) {
        this.freeAt =
          Math.max(this.freeAt, performance.now()) + (chunk.length / this.capacity) * 1000;
        await new Promise((done) => setTimeout(done, this.freeAt - performance.now()));
      }
      if (this.throttle) await new Promise((done) => setTimeout(done, 20));
    }
    this.log.push(`${from}-${to} sent ${sentHere} ${res.destroyed ? "cut" : "whole"}`);
    res.end();
  }
}

/** Everything of a content, as one buffer. */
export async function whole(
  engine: Engine,
  url: string,
  start = 0,
  end = Infinity,
): Promise<Buffer> {
  const content = await engine.content(url);
  if (!content) throw new Error("no content");
  const pieces: Uint8Array[] = [];
  const signal = new AbortController().signal;
  for await (const piece of content.read(start, Math.min(end, content.size), signal)) {
    pieces.push(piece.slice());
  }
  return Buffer.concat(pieces);
}

export const first = (engine: Engine): EngineStats["contents"][number] =>
  engine.stats().contents[0]!;

/** Waits for a condition; the test's own time-out is the only clock. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setTimeout(done, 5));
}

export class Player implements Playback {
  currentTime = 0;
  playbackRate = 1;
  paused = false;
  seeking = false;
  ended = false;
  /** Seconds that were handed to it. */
  loaded = 0;
  constructor(readonly duration: number) {}
  get readyState(): number {
    return this.loaded > this.currentTime + 0.05 ? 4 : this.loaded > 0 ? 2 : 0;
  }
  get buffered(): TimeRanges {
    const { loaded } = this;
    return { length: loaded > 0 ? 1 : 0, start: () => 0, end: () => loaded };
  }
}
