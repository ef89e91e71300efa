import type { Content, Playback } from "../engine";
import { measure } from "../playtimes";
import type { PlayTimes } from "../report";
import { absolute, reload, shadows } from "./elements";

/** Sound and picture, the one under way and the next. */
const FED = 4;

/** What a player's trouble is decided by. */
export interface PlayersHost {
  /** Whether bytes for this URL came through us, so that trouble may be ours. */
  suspect(url: string): boolean;
  /** From now on this URL plays without us. */
  bypass(url: string): void;
}

/** The media elements of the page: whose clock belongs to which content, and who needs help. */
export class Players {
  readonly #attached = new Map<HTMLMediaElement, { url: string; detach: () => void }>();
  readonly #retried = new WeakMap<HTMLMediaElement, string>();
  readonly #roots = new Set<Document | ShadowRoot>();
  readonly #host: PlayersHost;
  /** Detaches the clock of a Media Source from the segments that were asked for last. */
  readonly #fed: (() => void)[] = [];
  readonly #times = new Map<string, (() => PlayTimes & { readonly stalls: number })[]>();

  constructor(host: PlayersHost) {
    this.#host = host;
  }

  /** Look after the players below a document or shadow root. Media events do not leave those. */
  watch(root: Document | ShadowRoot): void {
    if (this.#roots.has(root)) return;
    this.#roots.add(root);
    root.addEventListener("error", this.#failed, true);
    root.addEventListener("emptied", this.#emptied, true);
  }

  /** Give a content the clocks of the players that play it. */
  attach(url: string, content: Content): void {
    const playing = this.playing(url);
    if (!playing.length) this.#feed(content);
    for (const player of playing) {
      if (this.#attached.get(player)?.url === url) continue;
      this.#detach(player);
      this.#attached.set(player, { url, detach: content.attach(player) });
    }
  }

  /** A segment of the page's only player that is fed by script: its clock counts. */
  #feed(content: Content): void {
    const [player, other] = this.#find((src) => src.startsWith("blob:"));
    if (!player || other) return;
    // Its duration is not the segment's.
    const get = (_: HTMLMediaElement, name: keyof Playback): unknown =>
      name === "duration" ? Infinity : player[name];
    this.#fed.push(content.attach(new Proxy(player, { get })));
    if (this.#fed.length > FED) this.#fed.shift()?.();
  }

  /** From now on measure how well a player plays this URL. */
  measure(player: HTMLMediaElement, url: string): void {
    const times = this.#times.get(url) ?? [];
    times.push(measure(player));
    this.#times.set(url, times);
  }

  /** What the players of this URL measured, together. */
  times(url: string): (PlayTimes & { readonly stalls: number }) | undefined {
    const all = this.#times.get(url)?.map((read) => read());
    return all?.reduce((a, b) => ({
      startupMs: a.startupMs ?? b.startupMs,
      stalls: a.stalls + b.stalls,
      stallMs: a.stallMs + b.stallMs,
      watchedS: a.watchedS + b.watchedS,
    }));
  }

  /** Let go of players that were taken out of the page and do not play on. */
  prune(): void {
    for (const player of this.#attached.keys()) {
      if (!player.isConnected && player.paused) this.#detach(player);
    }
  }

  detachAll(): void {
    for (const player of [...this.#attached.keys()]) this.#detach(player);
  }

  /** Whether a player of this URL asked to be left alone. */
  off(url: string): boolean {
    return this.playing(url).some((player) => player.dataset.p2p === "off");
  }

  /** The players of this URL. */
  playing(url: string): HTMLMediaElement[] {
    const same = (source: string): boolean => source === url;
    const found = this.#find(same);
    if (found.length) return found;
    for (const root of shadows(document)) this.watch(root);
    return this.#find(same);
  }

  #find(fits: (source: string) => boolean): HTMLMediaElement[] {
    return [...this.#roots].flatMap((root) =>
      [...root.querySelectorAll<HTMLMediaElement>("video,audio")].filter(({ currentSrc }) =>
        fits(currentSrc.replace(/#.*/s, "")),
      ),
    );
  }

  #detach(player: HTMLMediaElement): void {
    this.#attached.get(player)?.detach();
    this.#attached.delete(player);
  }

  readonly #emptied = ({ target }: Event): void => {
    if (target instanceof HTMLMediaElement) this.#detach(target);
  };

  /** A player gave up. Where that may be ours, hide it from the page and try without us, once. */
  readonly #failed = (event: Event): void => {
    const { target } = event;
    if (target instanceof HTMLSourceElement) {
      const player = target.parentElement;
      if (target.hasAttribute("data-src") && !target.src) event.stopImmediatePropagation();
      else if (player instanceof HTMLMediaElement) this.#retry(event, player, target.src);
    } else if (target instanceof HTMLMediaElement && target.error) {
      this.#retry(event, target, target.currentSrc);
    }
  };

  #retry(event: Event, player: HTMLMediaElement, source: string): void {
    const url = absolute(source, player)?.href;
    if (url === undefined || !this.#host.suspect(url) || this.#retried.get(player) === url) return;
    this.#retried.set(player, url);
    event.stopImmediatePropagation();
    this.#host.bypass(url);
    reload(player, url);
  }
}
