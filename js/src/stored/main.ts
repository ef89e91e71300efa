import { STORED_KEY } from "../engine";
import { absolute } from "../loader/elements";
import type { DiskHost } from "../swarm/engine";
import type { Disk } from "../swarm/store";
import { StoredDisk } from "./disk";
import { exclusive, openFiles } from "./files";
import { Ledger } from "./ledger";
import { readLedger } from "./writer";

/** The store's persistent part; undefined where this browser, or the site, will have none. */
export async function openDisk(host: DiskHost): Promise<Disk | undefined> {
  const { base, config } = host;
  if (!config.diskLimit) {
    localStorage.removeItem(STORED_KEY);
    await (await openFiles(base))?.wipe(true);
    return undefined;
  }
  // Somebody looks how it works: two tabs are to be two visitors, not one who has it all already.
  if (new URLSearchParams(location.search).get("p2pcdn") === "hud") return undefined;
  const files = await openFiles(base);
  if (!files) return undefined;
  const ledger = await readLedger(files).catch(() => null);
  return new StoredDisk(
    host,
    {
      files,
      exclusive: exclusive(base),
      channel:
        "BroadcastChannel" in self ? new BroadcastChannel(`p2pcdn ${base.pathname}`) : undefined,
      storage: storage(),
      subtle: crypto.subtle,
      estimate: () => navigator.storage.estimate(),
      date: () => Date.now(),
      now: () => performance.now() / 1000,
      off,
    },
    ledger ?? new Ledger(),
  );
}

function storage(): Storage | undefined {
  try {
    return localStorage;
  } catch {
    return undefined;
  }
}

function off(): Set<string> {
  const marked = document.querySelectorAll<HTMLElement>("[data-p2p=off], [data-p2p=off] source");
  return new Set(
    [...marked].flatMap(
      (e) => absolute(e.getAttribute("src") ?? e.dataset.src ?? "", document)?.href ?? [],
    ),
  );
}
