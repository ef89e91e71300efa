/**
 * What was watched on earlier pages is still passed on: a few of the films and streams that are
 * stored are opened without a player. What this page plays goes first.
 */
import type { SwarmContent } from "../swarm/content";
import type { DiskHost } from "../swarm/engine";
import type { Link } from "../swarm/link";
import type { Kept } from "./ledger";

/** Films and streams. */
const OPEN = 3;
/** As many are asked about on one page: the site may have given up sharing them all. */
const MAX_TRIED = 6;
/** Segments of one stream. */
const SEGMENTS = 48;
/** Less than that helps nobody. */
const LEAST_BYTES = 262144;
const AGAIN_S = 60;

export interface SeederHost {
  /** Stored contents, the most recently watched first. */
  recent(): [string, Kept][];
  /** Another tab serves it. */
  elsewhere(what: string): boolean;
  /** The site has other bytes there now. */
  outdated(key: string): void;
  /** Absolute URLs that the page keeps from being shared. */
  off(): ReadonlySet<string>;
  now(): number;
}

export class Seeder {
  /** Films, by their keys, and streams, by their playlists: which content tells whether each is open. */
  readonly serving = new Map<string, SwarmContent>();
  private readonly tried = new Set<string>();
  private readonly told = new WeakMap<Link, Set<number>>();
  private at = -Infinity;
  private busy = false;

  constructor(
    private readonly engine: DiskHost,
    private readonly host: SeederHost,
  ) {}

  tick(): void {
    this.makeRoom();
    const now = this.host.now();
    if (this.busy || now - this.at < AGAIN_S || !this.engine.mayUpload()) return;
    this.at = now;
    this.busy = true;
    void this.open().finally(() => {
      this.busy = false;
    });
  }

  private async open(): Promise<void> {
    const { byKey } = this.engine;
    const off = this.host.off();
    const units = new Map<string, [string, Kept][]>();
    for (const entry of this.host.recent()) {
      const [key, { playlists }] = entry;
      const what = playlists.join() || key;
      units.set(what, [...(units.get(what) ?? []), entry]);
    }
    for (const [what, entries] of units) {
      for (const [old, { key }] of this.serving) if (!byKey.has(key)) this.serving.delete(old);
      if (this.serving.size >= OPEN || this.tried.size >= MAX_TRIED) return;
      let [bytes, all] = [0, 0];
      for (const [, { segments, segmentBytes, size }] of entries) {
        bytes += Math.min(size, segments.size * segmentBytes);
        all += size;
      }
      if (this.tried.has(what) || bytes < Math.min(all, LEAST_BYTES)) continue;
      if (entries.some(([key, { url }]) => byKey.has(key) || off.has(url))) continue;
      if (this.host.elsewhere(what)) continue;
      this.tried.add(what);
      // In the order of play: what the site says of one segment tells of those that follow.
      const few = entries.slice(0, SEGMENTS);
      few.sort(([, a], [, b]) => a.since - b.since);
      for (const [key, kept] of few) {
        const content = await this.serve(key, kept);
        if (!content) break;
        this.serving.set(what, content);
      }
    }
  }

  /** What tells that it is open: the film, or the stream that it belongs to. */
  private async serve(key: string, { url, playlists }: Kept): Promise<SwarmContent | null> {
    const { engine, told } = this;
    if (playlists.length) engine.named.set(url, playlists);
    const hides = function (this: SwarmContent, link: Link): boolean {
      const { number, group } = this;
      if (!link.remote(this.key) && !(group && link.remote(group.key))) return true;
      const numbers = told.get(link) ?? new Set();
      told.set(link, numbers);
      return numbers.has(number) || !numbers.add(number);
    };
    const content = (await engine.open(url, hides).catch(() => null)) as SwarmContent | null;
    if (!content) return null;
    if (content.key !== key) {
      this.host.outdated(key);
      if (content.idle && content.hides) {
        content.close();
        engine.forget(content);
      }
      return playlists.length ? (content.group ?? null) : null;
    }
    for (const link of engine.links.open()) if (content.hides) link.join(content);
    return content.group ?? content;
  }

  /** Links to those who watch something else must not keep this page's own from being made. */
  private makeRoom(): void {
    const { links, byKey } = this.engine;
    if (links.free > 0) return;
    const wanting = [...byKey.values()].filter((c) => !c.idle && c.held.count < c.held.size);
    if (!wanting.length) return;
    for (const link of links.open()) {
      const useful = [...link.remotes.values()].some(({ key }) => {
        const content = byKey.get(key);
        return content && !content.hides;
      });
      if (!useful && !link.orders.length) {
        links.drop(link.id, AGAIN_S);
        return;
      }
    }
  }
}
