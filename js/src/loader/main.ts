import type { LoaderConfig } from "../config";
import { createEngine } from "../swarm/engine";
import { boot } from "./boot";

/** In front of this file, in a block of its own: `{const P2PCDN_CONFIG={...};`. */
declare const P2PCDN_CONFIG: LoaderConfig;

boot(P2PCDN_CONFIG, (config, base) => createEngine(config, base));
