/** One browser: its disk, its storage, its tabs. */
import { StoredDisk, type Parts } from "../../src/stored/disk";
import { Ledger } from "../../src/stored/ledger";
import { readLedger } from "../../src/stored/writer";
import type { LoaderConfig } from "../../src/config";
import type { Engine } from "../../src/engine";
import type { DiskHost, EngineDeps } from "../../src/swarm/engine";
import type { Site } from "../swarm/site";
import { Drawer, turns } from "./files";

let browsers = 0;

export class Browser {
  readonly files = new Drawer();
  readonly storage = new Map<string, string>();
  readonly off = new Set<string>();
  /** Milliseconds that its clock is ahead. */
  ahead = 0;
  /** How fast the disk's own time runs: nothing in it needs the real one. */
  pace = 5;
  private readonly exclusive = turns();
  private readonly name = `test ${String(browsers++)}`;

  constructor(private readonly site: Site) {}

  /** A page, which knows what is stored before it loads anything. */
  tab(deps: Partial<EngineDeps> = {}, settings: Partial<LoaderConfig> = {}): Engine {
    return this.site.visitor(
      {
        stored: this.storage.get("p2pcdn-stored") ?? "nothing yet",
        disk: (host) => this.open(host),
        ...deps,
      },
      { diskLimit: 1e8, ...settings },
    );
  }

  /** A tab that only talks, as one does that freezes afterwards. */
  channel(): BroadcastChannel {
    return new BroadcastChannel(this.name);
  }

  private async open(host: DiskHost): Promise<StoredDisk> {
    const { storage } = this;
    const parts: Parts = {
      files: this.files,
      exclusive: this.exclusive,
      channel: this.channel(),
      storage: {
        getItem: (key) => storage.get(key) ?? null,
        setItem: (key, value) => void storage.set(key, value),
        removeItem: (key) => void storage.delete(key),
      },
      subtle: crypto.subtle,
      estimate: () => Promise.resolve({ quota: 1e9, usage: this.files.used }),
      date: () => Date.now() + this.ahead,
      now: () => (this.pace * performance.now()) / 1000,
      off: () => this.off,
    };
    const ledger = (await readLedger(this.files)) ?? new Ledger();
    return new StoredDisk(host, parts, ledger);
  }
}
