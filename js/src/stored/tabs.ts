/**
 * What the tabs of one browser tell each other: what they fetch, what is stored, what is gone.
 *
 * A tab that falls silent (closed, frozen, busy) is forgotten after seconds: nobody waits for it
 * longer than the scheduler waits for any peer.
 */
import type { PeerView } from "../swarm/scheduler";
import type { Run } from "../swarm/wire";
import type { Named } from "./ledger";

/** What a tab has in hand: from the origin, or verified and not stored yet. */
export type Fetching = ReadonlyMap<string, readonly Run[]>;

export interface Heard {
  stored(segments: Named): void;
  gone(segments: Named): void;
  /** Another tab has something else in hand. */
  changed(): void;
  /** Seconds. */
  now(): number;
}

export interface Channel {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

interface Tab {
  heardAt: number;
  /** What it has in hand of which content, and since when. */
  readonly keys: Map<string, Map<number, number>>;
  readonly serves: ReadonlySet<string>;
  /** When it last finished a segment. */
  movedAt: number;
}

type Message =
  | {
      readonly v: string;
      readonly id: string;
      readonly here: [string, readonly Run[]][];
      readonly serves: string[];
    }
  | { readonly v: string; readonly id: string; readonly stored: [string, number[]][] }
  | { readonly v: string; readonly id: string; readonly gone: [string, number[]][] }
  | { readonly v: string; readonly id: string; readonly hello: true }
  | { readonly v: string; readonly id: string; readonly bye: true };

const SAY_AGAIN_S = 2;
const SILENT_S = 5;
/** Reading what another tab has stored is as good as having it. */
const READ_S = 0.01;
const READ_RATE = 50_000_000;
const MAX_TABS = 64;

export class Tabs {
  private readonly others = new Map<string, Tab>();
  private said = "";
  private saidAt = -Infinity;

  /** @param version - Tabs with other scripts of ours are not understood. */
  constructor(
    private readonly channel: Channel,
    private readonly id: string,
    private readonly version: string,
    private readonly heard: Heard,
  ) {
    channel.onmessage = ({ data }): void => {
      const message = data as Partial<Record<string, unknown>> | null;
      if (message?.v !== version || typeof message.id !== "string" || message.id === id) return;
      try {
        this.take(data as Message);
      } catch {
        // Something else on this page uses the channel's name.
      }
    };
    this.say({ hello: true });
  }

  /**
   * Tells of what is in hand, when that has changed, and now and then.
   *
   * @param serves - Contents that are only passed on.
   */
  here(fetching: Fetching, serves: Iterable<string>): void {
    const now = this.heard.now();
    const message = { here: [...fetching], serves: [...serves] };
    const said = JSON.stringify(message);
    const nothing = !message.here.length && !message.serves.length;
    if (said === this.said && (nothing || now - this.saidAt < SAY_AGAIN_S)) return;
    [this.said, this.saidAt] = [said, now];
    this.say(message);
  }

  stored(segments: Named): void {
    if (segments.size) this.say({ stored: [...segments] });
  }

  gone(segments: Named): void {
    if (segments.size) this.say({ gone: [...segments] });
  }

  /** Whether another tab fetches this content now. */
  fetches(key: string): boolean {
    return [...this.living()].some(([, { keys }]) => keys.has(key));
  }

  /** Whether another tab passes this content on, or fetches it. */
  shares(key: string): boolean {
    return this.fetches(key) || [...this.living()].some(([, { serves }]) => serves.has(key));
  }

  /** The other tabs that fetch a content, as the scheduler sees peers. */
  views(key: string, not: (id: string) => boolean): PeerView[] {
    const now = this.heard.now();
    return [...this.living()].flatMap(([id, { keys, movedAt }]) => {
      const claims = keys.get(key);
      if (!claims || not(id)) return [];
      return {
        id,
        has: () => false,
        claim: (segment) => {
          const since = claims.get(segment);
          if (since === undefined) return null;
          const ahead = [...claims.keys()].filter((other) => other < segment).length;
          return { age: now - Math.max(since, movedAt), ahead };
        },
        rtt: READ_S,
        rate: READ_RATE,
        queued: 0,
        room: 0,
        silent: false,
      };
    });
  }

  close(): void {
    this.say({ bye: true });
    this.channel.onmessage = null;
    this.channel.close();
  }

  private *living(): Generator<[string, Tab]> {
    const now = this.heard.now();
    for (const [id, tab] of this.others)
      if (now - tab.heardAt > SILENT_S) this.others.delete(id);
      else yield [id, tab];
  }

  private say(what: object): void {
    try {
      this.channel.postMessage({ v: this.version, id: this.id, ...what });
    } catch {
      // The page is going away.
    }
  }

  private take(message: Message): void {
    const { id } = message;
    if ("stored" in message) this.heard.stored(new Map(message.stored));
    else if ("gone" in message) this.heard.gone(new Map(message.gone));
    else if ("bye" in message) this.others.delete(id);
    else if ("hello" in message) {
      if (this.said) this.say(JSON.parse(this.said) as object);
    } else {
      const now = this.heard.now();
      const before = this.others.get(id);
      let movedAt = before?.movedAt ?? now;
      const keys = new Map<string, Map<number, number>>();
      for (const [key, runs] of message.here) {
        const then = before?.keys.get(key);
        const claims = new Map<number, number>();
        for (const [first, count] of runs)
          for (let s = first; s < first + count; s++) claims.set(s, then?.get(s) ?? now);
        if (then && [...then.keys()].some((s) => !claims.has(s))) movedAt = now;
        keys.set(key, claims);
      }
      if (before || this.others.size < MAX_TABS)
        this.others.set(id, { heardAt: now, keys, movedAt, serves: new Set(message.serves) });
    }
    this.heard.changed();
  }
}
