import type { LoaderConfig } from "../config";
import { boot } from "./boot";
import { engineScript, lazyEngine } from "./lazy";

/** In front of this file, in a block of its own: `{const P2PCDN_CONFIG={...};`. */
declare const P2PCDN_CONFIG: LoaderConfig;

const nonce = (document.currentScript as HTMLScriptElement | null)?.nonce ?? "";

boot(P2PCDN_CONFIG, (config, base) =>
  lazyEngine(config, base, () => engineScript(base, config.version, nonce)),
);
