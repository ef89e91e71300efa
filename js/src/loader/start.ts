import type { LoaderConfig } from "../config";
import {
  CACHE,
  ORIGIN_MARK,
  STORED_KEY,
  type Content,
  type Engine,
  type EngineStats,
} from "../engine";
import { sendReports } from "../report";
import { sleep, within } from "../within";
import type { Ask, Begun, Note } from "../worker/protocol";
import { Bridge } from "./bridge";
import { Control } from "./control";
import { stored } from "./early";
import { absolute, restore, shadows, source, waiting } from "./elements";
import { Parts } from "./parts";
import { Players } from "./players";
import { Playlists } from "./playlists";
import { impossible, OPT_OUT_KEY } from "./possible";
import { passable } from "./range";
import type { Why } from "./why";

export type CreateEngine = (config: LoaderConfig, base: URL, early?: EngineStart) => Engine;

/** What an engine that came later finds begun. */
export interface EngineStart {
  readonly id: string;
  readonly fetch: typeof globalThis.fetch;
  readonly stored: string;
}

export interface VideoStats {
  readonly url: string;
  /** Null where its bytes go through us. */
  readonly why: Why | null;
}

export interface LoaderStats {
  readonly version: string;
  /** Why the whole page plays direct; null where it does not. */
  readonly why: Why | null;
  readonly engine: EngineStats | null;
  readonly videos: readonly VideoStats[];
}

/** `window.p2pcdn`: for the panel, for tests and for site owners. */
export interface Api {
  readonly version: string;
  stats(): LoaderStats;
  /** Why this page, or one video of it, plays straight from the origin; null where it does not. */
  whyDirect(url?: string): Why | null;
  /** Remember this visitor's choice; it holds from the next page on. */
  optOut(out?: boolean): void;
}

declare global {
  interface Window {
    /** Videos that got their source back while the page arrived (p2pcdn/page/inject.py). */
    p2pcdnBegun?: HTMLVideoElement[];
  }
}

/** A stalled answer is looked into after this time; the engine promises to be far sooner. */
const STALL_MS = 10_000;
const PROBE_MS = 2_000;
const PROBE_BYTES = 262_144;
/** How long "there is no manifest" is believed. */
const ABSENT_MS = 5_000;
/** A first frame that is not there by then needs more bytes than the worker gave. */
const SHOWN_MS = 150;
/** Or, on a page that is slow itself, by then. */
const MOST_SHOWN_MS = 1000;
/** A player that asks for more is about to show it: it asks as soon as it has read what it got. */
const ASKED_MS = 50;
/** In that time a player takes the last piece of a part. */
const LAST_MS = 100;
/** A manifest may take that long for a script at least. */
const LEAST_WAIT_MS = 250;
/** Bytes that wait for a manifest are at most this share of the memory that the engine may take. */
const KEPT_SHARE = 0.25;
/** Browsers end a worker that heard nothing for 30 s. */
const ALIVE_MS = 15_000;

/** Start the page side. Whatever goes wrong later, videos get their source back. */
export function start(config: LoaderConfig, base: URL, createEngine: CreateEngine): Api {
  return new Loader(config, base, createEngine).api();
}

class Loader {
  readonly #config: LoaderConfig;
  readonly #base: URL;
  /** A page that took longer to come this far has a slower browser or network: it waits longer. */
  readonly #cameMs = performance.now();
  readonly #waitMs: number;
  readonly #createEngine: CreateEngine;
  readonly #players: Players;
  readonly #bridge: Bridge;
  readonly #playlists = new Playlists();
  readonly #pending = new Set<HTMLVideoElement>();
  readonly #videos = new Map<string, Why | null>();
  readonly #absent = new Map<string, number>();
  readonly #served = new Set<string>();
  readonly #bypassed = new Set<string>();
  readonly #probing = new Set<string>();
  readonly #parts = new Parts((url) => this.#players.playing(url));
  /** Bytes of parts that have passed and wait for a manifest. */
  #kept = 0;
  /** URLs whose players need no engine yet: the worker gives them their beginning. */
  readonly #beginning = new Set<string>();
  readonly #stored = stored();
  /** Until then a player is busy with what the worker gave it. */
  #shown: Promise<unknown> | undefined;
  #engine: Engine | undefined;
  #control: Control | undefined;
  #why: Why | null;

  constructor(config: LoaderConfig, base: URL, createEngine: CreateEngine) {
    this.#config = config;
    this.#base = base;
    const { startupWaitMs } = config;
    this.#waitMs = Math.min(4 * startupWaitMs, Math.max(startupWaitMs, 2 * this.#cameMs));
    this.#why = impossible(config, base, window);
    // Before all else: each takes the browser as long as all that comes here together.
    this.#begin(document);
    this.#createEngine = createEngine;
    this.#players = new Players({
      suspect: (url) => this.#served.has(url),
      bypass: (url) => {
        this.#bypass(url);
      },
    });
    this.#bridge = new Bridge({
      stallMs: STALL_MS,
      // A script that is refused segment by segment plays one presentation without us.
      content: async (url, range, signal) => {
        // Who has no index yet needs more at once; who has is about to show its first frame.
        const [player] = this.#players.playing(url);
        if (this.#shown && player?.readyState) await within(this.#shown, ASKED_MS);
        this.#shown = undefined;
        return this.#answer(url, range, signal, this.#playlists.last.pop());
      },
      through: (url, bytes, at) => {
        const { length } = bytes;
        if (this.#kept + length > KEPT_SHARE * this.#config.memoryLimit) return;
        this.#kept += length;
        void this.#begun(url, bytes, at).finally(() => (this.#kept -= length));
      },
      // Bytes of ours must not meet the network's in one player, see the worker.
      passed: (url) => {
        if (this.#players.playing(url)[0]) this.#bypassed.add(url);
      },
      opened: (url, content) => {
        this.#opened(url, content);
      },
      stalled: (url, offset, still) => void this.#probe(url, offset, still),
    });
    // First: the last report of a page tells of an engine that is closed afterwards.
    sendReports(
      new URL("report", base).href,
      () => ({
        engine: this.#engine?.stats(),
        times: (url) => this.#players.times(url),
        direct: this.#direct(),
      }),
      (report) => this.#engine?.report?.(report),
    );
    this.#listen();
    this.#watch();
    const begun = window.p2pcdnBegun ?? [];
    if (!this.#why) begun.forEach(this.#adopt);
    // Where nothing is shared, too: the worker waits for this word.
    if (begun.length) navigator.serviceWorker.controller?.postMessage(this.#hello());
    if (!this.#why) {
      // A page without a video gets the worker too, when it is done: the next one may have some.
      const register = (): void => void this.#worker();
      if (document.readyState === "complete") setTimeout(register);
      else addEventListener("load", () => setTimeout(register), { once: true });
    }
  }

  api(): Api {
    return {
      version: this.#config.version,
      stats: () => ({
        version: this.#config.version,
        why: this.#pageWhy(),
        engine: this.#engine?.stats() ?? null,
        videos: [...this.#videos].map(([url, why]) => ({ url, why })),
      }),
      // No video has the page's own address.
      whyDirect: (url = "") =>
        this.#pageWhy() ?? this.#videos.get(absolute(url, document)?.href ?? "") ?? null,
      optOut: (out = true) => {
        localStorage.setItem(OPT_OUT_KEY, out ? "off" : "");
        if (out) {
          localStorage.removeItem(STORED_KEY);
          if (isSecureContext) void caches.delete(CACHE);
        }
      },
    };
  }

  /** How many videos play straight from the origin, by reason. */
  #direct(): Record<string, number> {
    const direct: Record<string, number> = {};
    for (const why of this.#videos.values()) {
      const reason = this.#pageWhy() ?? why;
      if (reason) direct[reason] = (direct[reason] ?? 0) + 1;
    }
    return direct;
  }

  #pageWhy(): Why | null {
    return this.#why ?? this.#control?.why ?? null;
  }

  // --- elements ---------------------------------------------------------------------------

  #watch(): void {
    const observer = new MutationObserver((records) => {
      this.#guard(() => {
        for (const { addedNodes, removedNodes } of records) {
          for (const node of addedNodes) {
            if (!(node instanceof Element)) continue;
            this.#scan(node);
            if (node.shadowRoot) enter(node.shadowRoot);
          }
          if (removedNodes.length) this.#players.prune();
        }
      });
    });
    const enter = (root: Document | ShadowRoot): void => {
      this.#players.watch(root);
      observer.observe(root, { childList: true, subtree: true });
      this.#scan(root);
    };
    enter(document);
    const deep = (): void => {
      this.#guard(() => {
        for (const root of shadows(document)) enter(root);
      });
    };
    if (document.readyState === "complete") deep();
    else addEventListener("load", deep, { once: true });
  }

  #scan(root: ParentNode & Node): void {
    this.#begin(root);
    for (const video of waiting(root)) {
      if (this.#pending.has(video)) continue;
      this.#pending.add(video);
      void this.#consider(video);
    }
  }

  /** A player of Media Source Extensions begins to ask at once: sooner than the page is done. */
  #begin(root: ParentNode): void {
    if (!this.#why && root.querySelector("video,audio")) this.#worker();
  }

  /** Decide when a video gets its source back: as soon as waiting can gain nothing. */
  async #consider(video: HTMLVideoElement): Promise<void> {
    let why = this.#why;
    let url: string | undefined;
    try {
      const found = source(video);
      url = found?.href;
      if (video.dataset.p2p === "off") why = "element-off";
      else if (found?.origin !== location.origin) why = "other-origin";
      if (!why && url !== undefined) {
        const control = this.#worker();
        // What is stored here needs nothing from the origin, but an engine.
        if (this.#stored.includes(url)) void this.#content(url);
        else this.#beginning.add(url);
        if (control.usable) control.note(this.#hello());
        else if (!(await control.ready)) why = control.why;
        if (!why) {
          this.#served.add(url);
          if (!this.#engine) this.#shown ??= shown(video, this.#cameMs);
        } else if (video.preload !== "none") {
          // The worker may take control later, when the network has begun to answer.
          this.#bypassed.add(url);
          this.#beginning.delete(url);
        }
      }
    } catch {
      why = "error";
    }
    if (url !== undefined) {
      if (!this.#videos.has(url)) this.#videos.set(url, why);
      this.#players.measure(video, url);
    }
    this.#pending.delete(video);
    restore(video);
  }

  /** A video that got its source back before the loader came: the worker began to serve it. */
  readonly #adopt = (video: HTMLVideoElement): void => {
    const { href: url, origin } = source(video) ?? {};
    if (url === undefined || origin !== location.origin || video.dataset.p2p === "off") return;
    this.#shown ??= shown(video, this.#cameMs);
    this.#beginning.add(url);
    this.#served.add(url);
    this.#videos.set(url, null);
    this.#players.measure(video, url);
    void this.#content(url);
  };

  /** Run something of ours that must not keep a video from its source. */
  #guard(work: () => void): void {
    try {
      work();
    } catch {
      this.#giveUp();
    }
  }

  #giveUp(): void {
    this.#why = "error";
    for (const video of waiting(document)) restore(video);
  }

  // --- worker -----------------------------------------------------------------------------

  #worker(): Control {
    this.#control ??= new Control(
      navigator.serviceWorker,
      new URL("worker.js", this.#base),
      new URL(this.#config.scope, this.#base),
      this.#waitMs,
      () => this.#hello(),
    );
    return this.#control;
  }

  #hello(): Note {
    return { p2pcdn: "hello", begin: this.#engine ? [] : [...this.#beginning] };
  }

  #listen(): void {
    // Also where nothing is shared: a worker from an earlier visit wants to hear "not mine".
    let workers: ServiceWorkerContainer | undefined;
    try {
      workers = navigator.serviceWorker;
    } catch {
      // A sandboxed frame.
    }
    type Word = Partial<Ask> | Begun | null;
    workers?.addEventListener("message", ({ data, ports }: MessageEvent<Word>) => {
      const [port] = ports;
      if (data?.p2pcdn === "ask" && port) this.#bridge.answer(data as Ask, port);
      else if (data?.p2pcdn === "begun")
        void this.#begun(data.url, new Uint8Array(data.bytes), 0, data.ms / 1000);
    });
    workers?.startMessages();
    setInterval(() => {
      if (this.#bridge.open) this.#control?.note({ p2pcdn: "alive" });
    }, ALIVE_MS);
    addEventListener("pagehide", () => {
      // A page that comes back from the back/forward cache begins with a new engine.
      this.#players.detachAll();
      this.#engine?.close();
      this.#engine = undefined;
    });
  }

  async #begun(url: string, bytes: Uint8Array, at: number, took?: number): Promise<void> {
    const content = await this.#content(url);
    if (!content) return;
    this.#engine?.begun?.(url, bytes, at, took);
    // A player that has read ahead may ask for nothing any more; one that waits for its part is
    // not helped by an engine that fetches beside it.
    if (!this.#parts.has(url)) return;
    await sleep(LAST_MS);
    if (!this.#bridge.answers(url)) this.#opened(url, content);
  }

  #opened(url: string, content: Content): void {
    this.#served.add(url);
    this.#videos.set(url, null);
    this.#players.attach(url, content);
  }

  // --- contents ---------------------------------------------------------------------------

  /** `presentation` is what the URL counts as, where no player of the page has it itself. */
  async #content(url: string, presentation = url): Promise<Content | null> {
    if (this.#why || this.#bypassed.has(url) || this.#probing.has(url)) return null;
    if (this.#players.off(url)) return null;
    let content: Content | null = null;
    try {
      if (!this.#engine) await this.#shown;
      if (!this.#engine) {
        this.#engine = this.#createEngine(this.#config, this.#base);
        this.#control?.note(this.#hello());
      }
      content = this.#engine.known(url);
      if (content) return content;
      if (performance.now() < (this.#absent.get(url) ?? 0)) return null;
      content = await this.#engine.content(url, this.#playlists.last);
    } catch {
      this.#why = "error";
    }
    if (!content) this.#lacks(url, presentation);
    return content;
  }

  #lacks(url: string, presentation = url): void {
    this.#absent.set(url, performance.now() + ABSENT_MS);
    this.#videos.set(this.#videos.has(url) ? url : presentation, this.#why ?? "no-manifest");
  }

  /**
   * What the worker is answered. While a content is not known: for a player that cannot wait for it
   * any longer how many of the network's bytes it gets; nothing of ours for a script.
   */
  async #answer(
    url: string,
    range: string | null,
    signal: AbortSignal,
    presentation?: string,
  ): Promise<Content | null | number> {
    const content = this.#content(url, presentation);
    if (passable(range) && this.#players.playing(url).length)
      return (await this.#parts.wait(url, content, signal)) ?? null;
    const found = await Promise.race([content, sleep(Math.max(LEAST_WAIT_MS, this.#waitMs))]);
    if (found === undefined) this.#lacks(url, presentation);
    return found ?? null;
  }

  #bypass(url: string): void {
    this.#bypassed.add(url);
    this.#videos.set(url, "bypassed");
    this.#bridge.break(url);
  }

  /**
   * Nothing comes through us. Where the network has the bytes at once, and more than a few of
   * them, get out of the way; a scarce origin would only get scarcer by one that asks alone.
   */
  async #probe(url: string, offset: number, still: () => boolean): Promise<void> {
    if (this.#probing.has(url)) return;
    this.#probing.add(url);
    try {
      const response = await fetch(url + ORIGIN_MARK, {
        headers: { Range: `bytes=${String(offset)}-${String(offset + PROBE_BYTES)}` },
        cache: "no-store",
        signal: AbortSignal.timeout(PROBE_MS),
      });
      const bytes = response.ok && (await response.arrayBuffer()).byteLength;
      if (bytes && still()) this.#bypass(url);
    } catch {
      // The origin does not answer either: a plain player would wait as well.
    } finally {
      this.#probing.delete(url);
    }
  }
}

/** Until a player has its first frame, or needs more for it than it was given. */
function shown(player: HTMLVideoElement, slowMs: number): Promise<unknown> {
  return within(
    new Promise((done) => {
      if (player.readyState > 1) done(null);
      else player.addEventListener("loadeddata", done, { once: true });
    }),
    Math.max(SHOWN_MS, Math.min(slowMs, MOST_SHOWN_MS)),
  );
}
