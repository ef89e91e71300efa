/**
 * What was watched on earlier pages is still passed on: a few contents that are stored are opened
 * without a player. What this page plays goes first.
 */
import type { SwarmContent } from "../swarm/content";
import type { DiskHost } from "../swarm/engine";
import type { Kept } from "./ledger";

const CONTENTS = 3;
/** Contents that are asked about on one page: the site may have given up sharing them all. */
const MAX_TRIED = 6;
/** Less than that helps nobody. */
const LEAST_BYTES = 262144;
const AGAIN_S = 60;

export interface SeederHost {
  /** Stored contents, the most recently watched first. */
  recent(): [string, Kept][];
  /** Another tab serves it. */
  elsewhere(key: string): boolean;
  /** The site has other bytes there now. */
  outdated(key: string): void;
  /** Absolute URLs that the page keeps from being shared. */
  off(): ReadonlySet<string>;
  now(): number;
}

export class Seeder {
  /** Keys of what is open for others only. */
  readonly serving = new Set<string>();
  private readonly tried = new Set<string>();
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
    const off = this.host.off();
    for (const [key, kept] of this.host.recent()) {
      for (const old of this.serving) if (!this.engine.byKey.has(old)) this.serving.delete(old);
      if (this.serving.size >= CONTENTS || this.tried.size >= MAX_TRIED) return;
      const { url, size, segmentBytes, segments } = kept;
      const enough = segments.size * segmentBytes >= Math.min(size, LEAST_BYTES);
      if (this.tried.has(key) || !enough || off.has(url) || kept.playlists.length) continue;
      if (this.engine.byKey.has(key) || this.host.elsewhere(key)) continue;
      this.tried.add(key);
      const content = (await this.engine.open(url, true).catch(() => null)) as SwarmContent | null;
      if (!content) continue;
      if (content.key === key) this.serving.add(key);
      else {
        this.host.outdated(key);
        if (content.idle) {
          content.close();
          this.engine.forget(content);
        }
      }
    }
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
        return content && (!content.idle || content.group === content);
      });
      if (!useful && !link.orders.length) {
        links.drop(link.id, AGAIN_S);
        return;
      }
    }
  }
}
