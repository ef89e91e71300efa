import type { LoaderConfig } from "../config";
import { restore, waiting } from "./elements";
import { start, type Api, type CreateEngine } from "./start";

declare global {
  interface Window {
    p2pcdn?: Api;
  }
}

/** From the <script> to a running loader, or to a page as it would be without one. */
export function boot(config: LoaderConfig, createEngine: CreateEngine): void {
  try {
    // An element with this id would be found under the same name.
    if (typeof window.p2pcdn?.stats === "function") return;
    const script = document.currentScript;
    if (!(script instanceof HTMLScriptElement)) throw new Error("not a classic script");
    const base = new URL(script.src);
    window.p2pcdn = start(config, base, createEngine);
    if (config.hud || new URLSearchParams(location.search).get("p2pcdn") === "hud") {
      const panel = document.createElement("script");
      panel.src = new URL(`hud.js?v=${config.version}`, base).href;
      panel.nonce = script.nonce;
      script.after(panel);
    }
  } catch {
    const direct = (): void => {
      waiting(document).forEach(restore);
    };
    direct();
    new MutationObserver(direct).observe(document, { childList: true, subtree: true });
  }
}
