import { ORIGIN_MARK } from "../engine";
import { ask } from "./ask";
import type { Note } from "./protocol";
import type { Client, FetchEvent, InstallEvent, Scope } from "./scope";

/** What the server puts in front of the worker (Python twin: p2pcdn/web/assets.py). */
export interface WorkerConfig {
  readonly version: string;
  /** How the path of the worker's own URL ends: tells a worker that imported us from ourselves. */
  readonly path: string;
  /** See LoaderConfig.patterns. */
  readonly patterns: readonly string[];
}

/**
 * Segments of HLS and DASH, which players fetch by script. A query may end in a media file's name,
 * as the manifest's own question does.
 */
const SEGMENT = /^[^?#]*\.(?:ts|m4[sva]|mp4|cmf[va]|aac|mp3|ac3|webm|weba)(?:[?#]|$)/i;
/** A live playlist must never be stale, and all are small. */
const PLAYLIST = /\.(?:m3u8?|mpd)$/i;
const MARK = ORIGIN_MARK.slice(1);
const PAGES = 64;
/**
 * A page that has a loader is heard out, however busy it is: Chromium's player ends with an error
 * where bytes of ours and of the network meet in one resource. Of another page nothing is known.
 */
const KNOWN = { firstMs: 8000, silenceMs: 4000 };
const UNKNOWN = { ...KNOWN, firstMs: 1500 };

/**
 * The service worker: hands each media request to the page that made it.
 *
 * It knows nothing of swarms, and keeps nothing that matters: the browser may end it at any
 * moment. `quiet` only spares the next request a question whose answer is known.
 */
export function run(scope: Scope, config: WorkerConfig): void {
  const own = (url: string): boolean => new URL(url).pathname.endsWith(config.path);
  const alone = own(scope.location.href);
  const patterns = config.patterns.map((pattern) => new RegExp(pattern));
  // Patterns are written below the site's own prefix, as the scope ends with one.
  const prefix = new URL(scope.registration.scope).pathname.length - 1;
  /** Where our own files and manifests are: to ask a page for those would never end. */
  const mount = config.path.replace(/[^/]*$/, "");
  /** Pages that have said a word: finding one by its id takes the browser a round trip. */
  const pages = new Map<string, Client>();
  /** Ids of the clients that did not answer. */
  const quiet = new Set<string>();
  let orphaned = false;

  if (alone) {
    scope.addEventListener("install", (event) => {
      event.waitUntil(install(event));
    });
    scope.addEventListener("activate", (event) => {
      event.waitUntil(scope.clients.claim());
    });
  }

  async function install(event: InstallEvent): Promise<void> {
    const { active, waiting } = scope.registration;
    // Never take a scope from a site's own worker: a failed install leaves that one in place.
    if ([active, waiting].some((worker) => worker && !own(worker.scriptURL))) {
      throw new Error("p2pcdn: this scope has a worker of the site's own");
    }
    // A navigation wakes the worker, without waiting for it: the page's video will want it soon.
    // Other requests need not even do that.
    const others = ["script", "style", "image", "font", "worker", "track"];
    const network = patterns.length ? [] : others;
    try {
      await event.addRoutes?.([
        { condition: { urlPattern: { pathname: `*${mount}*` } }, source: "network" },
        { condition: { requestMode: "navigate" }, source: "race-network-and-fetch-handler" },
        ...network.map((requestDestination) => ({
          condition: { requestDestination },
          source: "network",
        })),
      ]);
    } catch {
      // An older draft of static routing: the early return below serves as well.
    }
    await scope.skipWaiting();
  }

  scope.addEventListener("message", ({ data, source, ports }) => {
    const note = data as Note | null;
    if (note?.p2pcdn === "hello" && source) greet(source);
    else if (note?.p2pcdn === "ping") ports[0]?.postMessage(config.version);
  });

  function greet(client: Client): void {
    quiet.delete(client.id);
    pages.set(client.id, client);
    for (const oldest of pages.keys()) if (pages.size > PAGES) pages.delete(oldest);
  }

  scope.addEventListener("fetch", (event) => {
    const { request, clientId } = event;
    const { destination, method } = request;
    const media = destination === "video" || destination === "audio";
    if (method !== "GET" || !clientId) return;
    const fetched = destination === "" && SEGMENT.test(request.url);
    if (!(media || fetched || patterns.length)) return;
    const url = new URL(request.url);
    // What the engine asks of the origin must not come back to it, and a player that fails
    // through us tries without.
    if (url.origin !== scope.location.origin || url.hash.endsWith(MARK)) return;
    if (PLAYLIST.test(url.pathname)) return;
    if (!media) {
      const path = url.pathname.slice(prefix);
      if (path.startsWith(mount)) return;
      if (request.mode === "navigate" || !(fetched || patterns.some((p) => p.test(path)))) return;
      // What is for this visitor alone the page asks for in its own name.
      if (request.headers.has("authorization")) return;
    }
    if (quiet.has(clientId)) return;
    url.hash = "";
    event.respondWith(answer(event, url.href));
  });

  async function answer({ request, clientId }: FetchEvent, url: string): Promise<Response> {
    try {
      const known = pages.get(clientId);
      const client = known ?? (await scope.clients.get(clientId));
      if (client) {
        const range = request.headers.get("range");
        const response = await ask(client, url, range, known ? KNOWN : UNKNOWN, (spoke) => {
          if (spoke) greet(client);
          else {
            quiet.add(clientId);
            pages.delete(clientId);
            void retire();
          }
        });
        if (response) return response;
      }
    } catch {
      // Whatever it was, the network still has the bytes.
    }
    return scope.fetch(request);
  }

  /** A page without a loader: leave for good where the site no longer has us. */
  async function retire(): Promise<void> {
    if (!alone || orphaned) return;
    orphaned = true;
    try {
      const { ok, status, headers } = await scope.fetch(scope.location.href, { method: "HEAD" });
      // A site may answer whatever it does not know with its first page.
      const other = ok && !headers.get("content-type")?.includes("javascript");
      if (status === 404 || status === 410 || other) await scope.registration.unregister();
    } catch {
      // Offline says nothing.
    }
  }
}
