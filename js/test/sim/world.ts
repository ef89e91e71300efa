/* eslint-disable @typescript-eslint/no-non-null-assertion -- a test that fails there fails rightly */
/** A site, its visitors and their players, in virtual time. The engine is the real one. */
import { createHash } from "node:crypto";
import type { LoaderConfig } from "../../src/config";
import type { Content, ContentStats, Engine } from "../../src/engine";
import { createEngine } from "../../src/swarm/engine";
import type { Env } from "../../src/swarm/content";
import type { Link, Shared } from "../../src/swarm/link";
import { Store } from "../../src/swarm/store";
import { Clock, generator } from "./clock";
import { Hub } from "./hub";
import { line, type Line } from "./lines";
import { OriginServer } from "./originserver";
import { FULL_S, Player } from "./player";
import { Connections } from "./rtc";

export interface Options {
  readonly seed?: number;
  /** Of the medium. */
  readonly seconds: number;
  readonly bytesPerS: number;
  readonly segmentBytes?: number;
  /** The origin's uplink, bytes per second. */
  readonly origin: number;
  readonly originLatency?: number;
  /** Visitors' lines, by number. */
  line?(n: number): Line;
  readonly config?: Partial<LoaderConfig>;
}

export interface Visit {
  /** It vanishes without a word after so many seconds of play. */
  readonly vanishS?: number;
  /** It sends others wrong bytes. */
  readonly hostile?: boolean;
  /** Having seen the end it stays that long; Infinity: until all is over. */
  readonly stayS?: number;
}

/** Index at the head of the file, without which nothing plays. */
const HEAD = 40_000;
/** From the engine's start to the first byte that the player asks for: the worker takes control. */
const WORKER_S = 0.08;
const SITE = "http://site/media/a.mp4";
const CONFIG: LoaderConfig = {
  version: "sim",
  coordinator: "../peerjs",
  scope: "../",
  key: "peerjs",
  socket: true,
  ice: [],
  relayOnly: false,
  uploadLimit: null,
  memoryLimit: 2 ** 28,
  diskLimit: 0,
  diskDays: 7,
  startupWaitMs: 1000,
  hud: false,
  patterns: [],
};

export interface Viewing {
  /** Seconds from the visit to the first frame. */
  readonly start: number;
  readonly stalls: number;
  /** Where in the film. */
  readonly stallsAt: readonly number[];
  readonly stalledS: number;
  readonly fromOrigin: number;
  readonly fromPeers: number;
  readonly causes: Readonly<Record<string, number>>;
  /** Whether all bytes were the file's. */
  readonly intact: boolean;
  /** Whether it saw the end. */
  readonly whole: boolean;
}

export class World {
  readonly clock = new Clock();
  readonly origin: OriginServer;
  readonly hub: Hub;
  readonly rtc = new Connections(this.clock);
  /** Virtual seconds that visitors were there, together. */
  presence = 0;
  visitors = 0;
  /** The engines of those who are there, and since when they are. */
  private readonly open = new Map<Engine, number>();
  private readonly random: () => number;
  private readonly manifest: Record<string, unknown>;
  /** All that matters about the bytes is whether they are the right ones: each is kept once. */
  private readonly segments: Uint8Array[] = [];

  constructor(readonly options: Options) {
    const { seed = 1, seconds, bytesPerS, segmentBytes = 65536 } = options;
    const { origin, originLatency = 0.005 } = options;
    this.random = generator(seed);
    const size = Math.round(HEAD + seconds * bytesPerS);
    const file = new Uint8Array(size).map((_, i) => (i * 2654435761) >>> 24);
    this.origin = new OriginServer(this.clock, file, origin, originLatency);
    this.hub = new Hub(this.clock, this.random);
    const hashes: Buffer[] = [];
    for (let at = 0; at < size; at += segmentBytes) {
      const segment = file.subarray(at, at + segmentBytes);
      this.segments.push(segment);
      hashes.push(createHash("sha256").update(segment).digest());
    }
    this.manifest = {
      key: "0".repeat(32),
      url: "/media/a.mp4",
      size,
      type: "video/mp4",
      segment_bytes: segmentBytes,
      hashes: Buffer.concat(hashes).toString("base64"),
      token: "t",
      expires: 4e9,
    };
  }

  /** Bytes that left the origin, in films. */
  get copies(): number {
    return this.origin.sent / this.origin.file.length;
  }

  /** Visitors who are there now. */
  get present(): number {
    return this.open.size;
  }

  /** Runs a scenario to its end. */
  async run<T>(scenario: (world: this) => Promise<T>): Promise<T> {
    const restore = [this.clock.install(), this.intern()];
    try {
      return await this.clock.until(scenario(this));
    } finally {
      for (const [engine, visit] of this.open) {
        this.presence += this.clock.now - visit;
        engine.close();
      }
      for (const undo of restore) undo();
    }
  }

  /** One visit, from the first byte of the page's script to the end of the film. */
  async watch({
    vanishS = Infinity,
    hostile = false,
    stayS = Infinity,
  }: Visit = {}): Promise<Viewing> {
    const { clock, options } = this;
    const visit = clock.now;
    const own = options.line?.(this.visitors) ?? line(12.5e6, 12.5e6, 0.002);
    const engine = this.engine(own);
    this.open.set(engine, visit);
    const content = (await engine.content(SITE))!;
    if (hostile) spoil(content);
    await clock.sleep(WORKER_S);
    const player = new Player(clock, options.seconds, vanishS);
    const detach = content.attach(player);
    const reading = this.feed(content, player);
    await player.over;
    const whole = player.ended;
    const intact = vanishS < Infinity || (await reading);
    detach();
    const { fromOrigin, fromPeers, causes } = content.stats();
    const leave = (): void => {
      this.presence += clock.now - visit;
      this.open.delete(engine);
      engine.close();
    };
    if (vanishS < Infinity) {
      this.rtc.cut(own);
      leave();
    } else if (stayS < Infinity) clock.in(stayS, leave);
    const { startedAt, stallsAt, stalledS } = player;
    const stalls = stallsAt.length;
    const seen = { start: startedAt - visit, stalls, stallsAt, stalledS, intact, whole };
    return { ...seen, fromOrigin, fromPeers, causes };
  }

  /** One who has nothing and fetches nothing, and has that to say to each peer every two seconds. */
  async boast(say: (link: Link, content: Shared) => void): Promise<void> {
    const engine = this.engine(line(12.5e6, 12.5e6, 0.002));
    this.open.set(engine, this.clock.now);
    const content = (await engine.content(SITE)) as unknown as Shared & { env: Env };
    setInterval(() => {
      for (const link of content.env.links()) say(link, content);
    }, 2000);
  }

  /** What one page's content counted until now; for a look at those who are still there. */
  stats(): ContentStats[] {
    return [...this.open.keys()].flatMap((engine) => engine.stats().contents);
  }

  /** Gives the player what its request is answered with. Whether all was the film's. */
  private async feed(content: Content, player: Player): Promise<boolean> {
    const { clock, options } = this;
    const file = Buffer.from(this.origin.file.buffer);
    const all = new AbortController();
    let intact = true;
    let at = 0;
    try {
      for await (const piece of content.read(0, content.size, all.signal)) {
        intact &&= file.compare(piece, 0, piece.length, at, at + piece.length) === 0;
        at += piece.length;
        player.feed(Math.max(0, (at - HEAD) / options.bytesPerS));
        while (!player.paused && player.loaded > player.currentTime + FULL_S)
          await clock.sleep(player.loaded - player.currentTime - FULL_S + 0.05);
        if (player.paused && !player.ended) return intact;
      }
      return intact;
    } catch {
      player.stop();
      return false;
    }
  }

  private engine(own: Line): Engine {
    const n = this.visitors++;
    return createEngine(
      { ...CONFIG, ...this.options.config },
      new URL("http://site/p2pcdn/loader.js"),
      {
        fetch: (input, init) => this.fetch(own, input as string, init ?? {}),
        WebSocket: this.hub.of(own),
        RTCPeerConnection: this.rtc.of(own),
        subtle: { digest: (_name, bytes) => Promise.resolve(sha256(bytes as Uint8Array)) },
        sendBeacon: undefined,
        now: () => this.clock.now,
        random: this.random,
        connection: () => (own.cellular ? { type: "cellular" } : undefined),
        mobile: own.cellular,
        id: `${this.random().toString(36).slice(2, 12)}x${n.toString()}`,
      },
    );
  }

  private async fetch(own: Line, url: string, { headers, signal }: RequestInit): Promise<Response> {
    const { pathname } = new URL(url);
    if (pathname === "/media/a.mp4") {
      const range = (headers as Record<string, string>).Range ?? "";
      return this.origin.answer(own, range, signal ?? undefined);
    }
    await this.clock.sleep(2 * (own.latency + this.origin.latency));
    const found = pathname === "/p2pcdn/manifest";
    const json = (): Promise<unknown> => Promise.resolve(found ? this.manifest : {});
    return { ok: found, status: found ? 200 : 404, json } as Response;
  }

  /** Verified segments are the file's own: ten thousand stores hold them without copies. */
  private intern(): () => void {
    const put = Object.getOwnPropertyDescriptor(Store.prototype, "put")!;
    const { segments } = this;
    Store.prototype.put = function (this: Store, shelf, segment, ...rest) {
      const [bytes] = rest;
      const ours = segments[segment];
      const same = ours?.length === bytes.length && Buffer.compare(ours, bytes) === 0;
      (put.value as Store["put"]).call(this, shelf, segment, same ? ours : bytes);
    };
    return () => Object.defineProperty(Store.prototype, "put", put);
  }
}

const sha256 = (bytes: Uint8Array): ArrayBuffer =>
  new Uint8Array(createHash("sha256").update(bytes).digest()).buffer;

/** Makes a page play well itself, and send others wrong bytes. */
function spoil(content: Content): void {
  const shared = content as unknown as Shared;
  const bytes = shared.bytes.bind(shared);
  shared.bytes = (segment) => bytes(segment)?.map((b) => b ^ 255) ?? null;
  // Its own player reads what it holds by another way.
  (content as unknown as { available: unknown }).available = (at: number, end: number) => {
    const segment = Math.floor(at / shared.segmentBytes);
    const from = segment * shared.segmentBytes;
    return bytes(segment)?.subarray(at - from, end - from) ?? null;
  };
}
