import type { ORIGIN_MARK } from "../engine";
import { sleep } from "../within";
import { ask } from "./ask";
import type { Begun, Note } from "./protocol";
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
const SEGMENT = /^[^?#]*\.(ts|m4[sva]|mp[34]|cmf[va]|aac|ac3|web[ma])([?#]|$)/i;
/** A live playlist must never be stale, and all are small. */
const PLAYLIST = /\.(m3u8?|mpd)$/i;
/** How a URL with ORIGIN_MARK ends, also behind a fragment of its own. */
type Mark = typeof ORIGIN_MARK extends `#${infer Name}` ? Name : never;
const PAGES = 64;
/**
 * A page that has a loader is heard out, however busy it is: Chromium's player ends with an error
 * where bytes of ours and of the network meet in one resource. Of another page nothing is known.
 */
const KNOWN_MS = 8000;
const UNKNOWN_MS = 1500;
const SILENCE_MS = 4000;
/** A page's hello may come a little later than its player's first request. */
const HELLO_MS = 50;
/**
 * Chromium begins an `autoplay` only when it has seen five blocks come fast enough
 * (`BufferedDataSourceHostImpl::DownloadRate`), and blocks that come at once count as one.
 */
const BLOCK_BYTES = 32_768;
const BLOCK_MS = 4;

/** What is known of a page. */
interface Page {
  /**
   * Set when it has said a word: finding it by its id takes the browser a round trip. Null where it
   * did not answer: spares the next request a question whose answer is known.
   */
  listener?: Client | null;
  /** URLs whose players had better get their beginning from us. */
  early: readonly string[];
  /** Its loader is on the way: what is said to it is lost. */
  awaited?: boolean | undefined;
  /** URLs whose players have had bytes that were made here. */
  readonly made: Set<string>;
}

const moment = (): Promise<unknown> => sleep(HELLO_MS);

/**
 * The service worker: hands each media request to the page that made it.
 *
 * It knows nothing of swarms, and keeps little: the browser may end it at any moment. Where what it
 * knew of a page is lost, the page is asked again.
 */
export function run(scope: Scope, config: WorkerConfig): void {
  const own = (url: string): boolean => new URL(url).pathname.endsWith(config.path);
  const ownScope = own(scope.location.href);
  const patterns = config.patterns.map((pattern) => new RegExp(pattern));
  // Patterns are written below the site's own prefix, as the scope ends with one.
  const prefix = new URL(scope.registration.scope).pathname.length - 1;
  /** Where our own files and manifests are: to ask a page for those would never end. */
  const mount = config.path.replace(/[^/]*$/, "");
  const pages = new Map<string, Page>();
  let orphaned = false;

  if (ownScope) {
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
      throw new Error("taken");
    }
    // A navigation wakes the worker, without waiting for it: the page's video will want it soon.
    // Other requests need not even do that.
    const others = patterns.length ? [] : ["script", "style", "image", "font"];
    try {
      await event.addRoutes?.([
        { condition: { urlPattern: { pathname: `*${mount}*` } }, source: "network" },
        { condition: { requestMode: "navigate" }, source: "race-network-and-fetch-handler" },
        ...others.map((requestDestination) => ({
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
    if (note?.p2pcdn === "hello" && source) {
      const page = pageOf(source.id);
      page.listener = source;
      page.early = note.begin ?? [];
      page.awaited = note.loading;
      void sleep(UNKNOWN_MS).then(() => {
        if (page.awaited) silent(page);
      });
    } else if (note?.p2pcdn === "ping") ports[0]?.postMessage(config.version);
  });

  function pageOf(id: string): Page {
    const page = pages.get(id) ?? { early: [], made: new Set() };
    pages.delete(id);
    pages.set(id, page);
    for (const oldest of pages.keys()) if (pages.size > PAGES) pages.delete(oldest);
    return page;
  }

  function silent(page: Page): void {
    page.listener = null;
    page.awaited = false;
    void retire();
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
    if (url.origin !== scope.location.origin || url.hash.endsWith("p2pcdn" satisfies Mark)) return;
    if (PLAYLIST.test(url.pathname)) return;
    if (!media) {
      const path = url.pathname.slice(prefix);
      if (path.startsWith(mount)) return;
      if (request.mode === "navigate" || !(fetched || patterns.some((p) => p.test(path)))) return;
      // What is for this visitor alone the page asks for in its own name.
      if (request.headers.has("authorization")) return;
    }
    url.hash = "";
    const page = pageOf(clientId);
    if (page.listener === null && !page.made.has(url.href)) return;
    event.respondWith(answer(event, page, url.href, media));
  });

  async function answer(
    { request, clientId }: FetchEvent,
    page: Page,
    url: string,
    media: boolean,
  ): Promise<Response> {
    const range = request.headers.get("range");
    let response: Response | null = null;
    try {
      if (range === "bytes=0-") {
        if (!page.listener) await moment();
        if (page.early.includes(url)) response = await begin(page, url);
      }
      if (!response) {
        while (page.awaited) await moment();
        const known = page.listener;
        const client = known === undefined ? await scope.clients.get(clientId) : known;
        if (client)
          response = await ask(
            client,
            url,
            range,
            known ? KNOWN_MS : UNKNOWN_MS,
            SILENCE_MS,
            (spoke) => {
              if (spoke) page.listener = client;
              else silent(page);
            },
          );
        if (response && media) page.made.add(url);
      }
    } catch {
      // Whatever it was, the network still has the bytes.
    }
    response ??= await scope.fetch(request);
    // Chromium's player ends with an error where bytes of the network follow on some that a worker
    // made: what began here goes on here. (An opaque answer, a redirect to another site, cannot.)
    if (response.type === "basic" && page.made.has(url))
      response = new Response(response.body, response);
    return response;
  }

  /**
   * The page's engine is not there yet: its player gets from the network what it needs for a first
   * frame, and asks again for what follows. Null where the network does not answer so.
   */
  async function begin(page: Page, url: string): Promise<Response | null> {
    const asked = Date.now();
    // What the player of a film of some minutes needs for its first frame. With the site's cookies:
    // it is the site's own URL.
    const response = await scope.fetch(url, {
      headers: { Range: "bytes=0-196607" },
      redirect: "error",
    });
    // A part of known size, and no more than was asked for.
    if (!response.headers.get("content-range")?.match(/^bytes 0-\d{1,6}\/\d/)) {
      void response.body?.cancel();
      return null;
    }
    page.made.add(url);
    void response
      .clone()
      .arrayBuffer()
      .then(async (bytes) => {
        const ms = Date.now() - asked;
        while (page.awaited) await moment();
        page.listener?.postMessage({ p2pcdn: "begun", url, bytes, ms } satisfies Begun, [bytes]);
      }, Boolean);
    let room = BLOCK_BYTES;
    const paced = new TransformStream<Uint8Array, Uint8Array>({
      async transform(bytes, out) {
        while (bytes.length) {
          if (!room) {
            await sleep(BLOCK_MS);
            room = BLOCK_BYTES;
          }
          const piece = bytes.subarray(0, room);
          out.enqueue(piece);
          room -= piece.length;
          bytes = bytes.subarray(piece.length);
        }
      },
    });
    return new Response(response.body?.pipeThrough(paced), response);
  }

  /** A page without a loader: leave for good where the site no longer has us. */
  async function retire(): Promise<void> {
    if (!ownScope || orphaned) return;
    orphaned = true;
    try {
      const { ok, status, headers } = await scope.fetch(scope.location.href);
      // A site may answer whatever it does not know with its first page.
      const gone = ok
        ? !headers.get("content-type")?.includes("javascript")
        : status === 404 || status === 410;
      if (gone) await scope.registration.unregister();
    } catch {
      // Offline says nothing.
    }
  }
}
