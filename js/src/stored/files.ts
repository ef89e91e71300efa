/**
 * Where the bytes are: Cache Storage, one entry a segment, and one that lists them.
 *
 * It is there in every window of Chromium, Firefox and Safari; an entry is whole or not there at
 * all, whatever crashes; bytes lie outside of the page's memory. (The origin private file system
 * would need a worker of its own in Safari before 26, and knows half-written files.)
 */
import { CACHE } from "../engine";
import { within } from "../within";

export interface Files {
  read(name: string): Promise<Uint8Array<ArrayBuffer> | null>;
  write(name: string, data: Uint8Array | string): Promise<void>;
  remove(names: Iterable<string>): Promise<void>;
  /** Removes all there is of this site; for good: nothing will be written any more. */
  wipe(forGood?: boolean): Promise<void>;
}

/** Lets one tab at a time do something; undefined: it was not this one's turn for too long. */
export type Exclusive = <T>(work: () => Promise<T>) => Promise<T | undefined>;

/** A browser whose storage does not answer for that long has none. */
const OPEN_MS = 2000;
const TURN_MS = 4000;
/** After so many turns in vain whoever has it is taken for frozen. */
const PATIENCE = 3;

/** @param base - The loader's URL: sites below other paths of this origin have entries of their own. */
export async function openFiles(base: URL): Promise<Files | null> {
  try {
    const opened = await within(caches.open(CACHE), OPEN_MS);
    if (!opened) return null;
    let cache = opened;
    const at = (name: string): string => new URL(`stored/${name}`, base).href;
    return {
      async read(name) {
        const found = await cache.match(at(name));
        return found ? new Uint8Array(await found.arrayBuffer()) : null;
      },
      async write(name, data) {
        await cache.put(at(name), new Response(data as BodyInit));
      },
      async remove(names) {
        for (const name of names) await cache.delete(at(name));
      },
      async wipe(forGood) {
        // Other tabs, and sites below other paths, have entries in it. Anew: a visitor who opts
        // out deletes it in all tabs.
        cache = await caches.open(CACHE);
        for (const { url } of await cache.keys())
          if (url.startsWith(at(""))) await cache.delete(url);
        if (forGood && !(await cache.keys()).length) await caches.delete(CACHE);
      },
    };
  } catch {
    // A private window, or storage is blocked.
    return null;
  }
}

export function exclusive(base: URL): Exclusive {
  let missed = 0;
  return async (work) => {
    // Without locks a tab might now and then lose what another one wrote down: bytes are
    // verified when they are read, so that is all.
    if (!("locks" in navigator)) return work();
    const { locks } = navigator;
    const options = missed < PATIENCE ? { signal: AbortSignal.timeout(TURN_MS) } : { steal: true };
    missed++;
    const turn = { begun: false };
    try {
      return await locks.request(`p2pcdn ${base.pathname}`, options, async () => {
        turn.begun = true;
        missed = 0;
        return work();
      });
    } catch (error) {
      if (turn.begun) throw error;
      return undefined;
    }
  };
}
