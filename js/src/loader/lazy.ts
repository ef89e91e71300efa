import type { LoaderConfig } from "../config";
import type { Engine } from "../engine";
import { NONE } from "../report";
import { Early } from "./early";
import type { CreateEngine } from "./start";

/** How engine.js hands itself over: it calls what its own <script> element carries. */
export interface EngineScript extends HTMLScriptElement {
  p2pcdn?: (create: CreateEngine) => void;
}

/**
 * An engine that arrives in a script of its own, so that a page without a video to share never
 * loads it. Where it cannot be had every video plays direct.
 */
export function lazyEngine(
  config: LoaderConfig,
  base: URL,
  load: () => Promise<CreateEngine>,
): Engine {
  let engine: Engine | undefined;
  let closed = false;
  const early = new Early(base);
  const arrived = load().then((create) => {
    if (!closed) engine = create(config, base, early);
  });
  arrived.catch(() => 0);
  return {
    content: (url, playlists = []) => {
      if (!engine) early.manifest(url, playlists);
      return arrived.then(
        () => engine?.content(url, playlists) ?? null,
        () => null,
      );
    },
    begun: (...beginning) => {
      arrived.then(() => engine?.begun?.(...beginning), Boolean);
    },
    known: (url) => engine?.known(url) ?? null,
    stats: () => engine?.stats() ?? NONE,
    report: (report) => engine?.report?.(report),
    close: () => {
      closed = true;
      engine?.close();
    },
  };
}

/** Load engine.js beside the loader; `nonce` for pages whose policy asks for one. */
export function engineScript(base: URL, version: string, nonce: string): Promise<CreateEngine> {
  return new Promise((resolve, reject) => {
    const script: EngineScript = document.createElement("script");
    script.p2pcdn = resolve;
    // What has run has called by then; what could not be read (an error page) never will.
    script.onload = script.onerror = reject;
    script.nonce = nonce;
    script.src = new URL(`engine.js?v=${version}`, base).href;
    document.head.append(script);
  });
}
