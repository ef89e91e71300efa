/* eslint-disable @typescript-eslint/no-non-null-assertion -- a test that fails there fails rightly */
/** A site, its visitors and their players, in virtual time. The engine is the real one. */
import { createHash } from "node:crypto";
import { createEngine } from "../../src/swarm/engine";
import type { Engine, Playback } from "../../src/engine";
import type { Shared } from "../../src/swarm/link";
import { Clock, generator } from "./clock";
import { Mailboxes } from "./coordinator";
import { connections, line, OriginServer, type Line } from "./network";

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
}

/** Index at the head of the file, without which nothing plays. */
const HEAD = 40_000;
/** A player starts with that much in hand, and asks no further than that. */
const START_S = 0.3;
const FULL_S = 30;

export interface Viewing {
  /** Seconds from the visit to the first frame. */
  start: number;
  stalls: number;
  stalledS: number;
  fromOrigin: number;
  fromPeers: number;
  causes: Readonly<Record<string, number>>;
  /** Whether all bytes were the file's. */
  intact: boolean;
}

export class World {
  readonly clock = new Clock();
  readonly origin: OriginServer;
  readonly coordinator = new Mailboxes(0.15);
  readonly engines: Engine[] = [];
  private readonly lines = new Map<unknown, Line>();
  private readonly rtc = connections(this.clock, this.lines);
  private readonly random: () => number;
  private readonly manifest: unknown;
  private visitors = 0;

  constructor(readonly options: Options) {
    const { seed = 1, seconds, bytesPerS, segmentBytes = 65536 } = options;
    this.random = generator(seed);
    const size = Math.round(HEAD + seconds * bytesPerS);
    const file = new Uint8Array(size).map((_, i) => (i * 2654435761) >>> 24);
    this.origin = new OriginServer(
      this.clock,
      file,
      options.origin,
      options.originLatency ?? 0.005,
    );
    const hashes: Buffer[] = [];
    for (let at = 0; at < size; at += segmentBytes) {
      hashes.push(
        createHash("sha256")
          .update(file.subarray(at, at + segmentBytes))
          .digest(),
      );
    }
    this.manifest = {
      key: "0".repeat(32),
      size,
      type: "video/mp4",
      segment_bytes: segmentBytes,
      hashes: Buffer.concat(hashes).toString("base64"),
      token: "t",
      expires: 4e9,
    };
  }

  get copies(): number {
    return this.origin.sent / this.origin.file.length;
  }

  /** Runs a scenario to its end. */
  async run<T>(scenario: (world: this) => Promise<T>): Promise<T> {
    const restore = this.clock.install();
    try {
      return await this.clock.until(scenario(this));
    } finally {
      for (const engine of this.engines) engine.close();
      restore();
    }
  }

  /** One visit: watches from the start to the end, or leaves after `leaveS` seconds of play. */
  async watch(leaveS = Infinity, hostile = false): Promise<Viewing> {
    const { clock, options } = this;
    const n = this.visitors++;
    const visit = clock.now;
    const me = {};
    const own = options.line?.(n) ?? line(12.5e6, 12.5e6, 0.002);
    this.lines.set(me, own);
    const engine = createEngine(
      {
        version: "sim",
        coordinator: "../peerjs",
        scope: "../",
        key: "peerjs",
        socket: false,
        ice: [],
        relayOnly: false,
        uploadLimit: null,
        memoryLimit: 2 ** 28,
        diskLimit: 0,
        diskDays: 7,
        startupWaitMs: 1000,
        hud: false,
        patterns: [],
      },
      new URL("http://site/p2pcdn/loader.js"),
      {
        fetch: (input, init) => this.fetch(own, input as string, init ?? {}),
        WebSocket: undefined,
        RTCPeerConnection: this.rtc.of(me),
        subtle: {
          digest: (_name, bytes) =>
            Promise.resolve(
              new Uint8Array(
                createHash("sha256")
                  .update(bytes as Uint8Array)
                  .digest(),
              ).buffer,
            ),
        },
        sendBeacon: undefined,
        now: () => clock.now,
        random: this.random,
        connection: () => undefined,
        mobile: false,
        id: `${this.random().toString(36).slice(2, 12)}x${n.toString()}`,
      },
    );
    this.engines.push(engine);
    const content = (await engine.content("http://site/media/a.mp4"))!;
    if (hostile) {
      // It plays well itself, and sends others wrong bytes.
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
    await clock.sleep(0.08); // the worker takes control
    const player = new Player(options.seconds);
    content.attach(player);
    const { file } = this.origin;
    const viewing: Viewing = {
      start: -1,
      stalls: 0,
      stalledS: 0,
      fromOrigin: 0,
      fromPeers: 0,
      causes: {},
      intact: true,
    };
    let gone = false as boolean;
    const reading = (async () => {
      let at = 0;
      for await (const piece of content.read(0, content.size, new AbortController().signal)) {
        viewing.intact &&= piece.every((b, i) => b === file[at + i]);
        at += piece.length;
        player.loaded = Math.max(0, (at - HEAD) / options.bytesPerS);
        while (player.loaded > player.currentTime + FULL_S && !gone) await clock.sleep(0.1);
        if (gone) return;
      }
    })().catch(() => (viewing.intact = false));
    let waiting = true;
    const step = 0.02;
    while (player.currentTime < Math.min(options.seconds - 0.1, leaveS)) {
      await clock.sleep(step);
      const ahead = player.loaded - player.currentTime;
      const all = player.loaded >= options.seconds - 0.1;
      if (waiting ? ahead > START_S || all : ahead > step) {
        if (waiting && viewing.start < 0) viewing.start = clock.now - visit;
        waiting = false;
        player.currentTime += step;
      } else if (viewing.start >= 0) {
        if (!waiting) viewing.stalls++;
        waiting = true;
        viewing.stalledS += step;
      }
      if (clock.now - visit > 20 * options.seconds) break;
    }
    gone = true;
    if (leaveS === Infinity) await reading;
    player.paused = true;
    const { fromOrigin, fromPeers, causes } = content.stats();
    if (leaveS < Infinity) {
      // Killed, not closed: nobody is told.
      this.rtc.cut(me);
      engine.close();
    }
    return { ...viewing, fromOrigin, fromPeers, causes };
  }

  private async fetch(own: Line, url: string, init: RequestInit): Promise<Response> {
    const { pathname } = new URL(url);
    const signal = init.signal ?? undefined;
    if (pathname === "/media/a.mp4") {
      const range = new Headers(init.headers).get("range") ?? "";
      return this.origin.answer(own, range, signal);
    }
    await this.clock.sleep(2 * own.latency + 0.01);
    const body =
      pathname === "/p2pcdn/manifest"
        ? this.manifest
        : this.coordinator.post(JSON.parse(init.body as string) as never);
    await this.clock.sleep(own.latency);
    // A copy, as over a wire.
    return new Response(JSON.stringify(body), { headers: { "Content-Type": "application/json" } });
  }
}

class Player implements Playback {
  currentTime = 0;
  playbackRate = 1;
  paused = false;
  seeking = false;
  ended = false;
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
