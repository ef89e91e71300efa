import type { LoaderConfig } from "../config";
import type { Why } from "./why";

/** The localStorage key by which a visitor opts out: `"off"`. */
export const OPT_OUT_KEY = "p2pcdn";

/** What stands against peers in this page, before anything was tried; null where nothing does. */
export function impossible(config: LoaderConfig, base: URL, win: Window): Why | null {
  const { document: doc, location, navigator } = win;
  if (doc.documentElement.dataset.p2p === "off") return "page-off";
  if (win.origin === "null" || base.origin !== location.origin) return "other-origin";
  if (!win.isSecureContext) return "insecure";
  if (optedOut(win)) return "opted-out";
  const signal = (navigator as { globalPrivacyControl?: boolean }).globalPrivacyControl;
  if (signal && !config.relayOnly) return "privacy-signal";
  if (!("serviceWorker" in navigator)) return "no-worker";
  if (!("RTCPeerConnection" in win)) return "no-webrtc";
  if (!location.href.startsWith(new URL(config.scope, base).href)) return "outside-scope";
  return null;
}

function optedOut(win: Window): boolean {
  try {
    return win.localStorage.getItem(OPT_OUT_KEY) === "off";
  } catch {
    return false; // storage is blocked: nothing can have been chosen there
  }
}
