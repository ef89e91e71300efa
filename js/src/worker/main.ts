import type { Scope } from "./scope";
import { run, type WorkerConfig } from "./worker";

/** In front of this file, in a block of its own: `{const P2PCDN_WORKER={...};`. */
declare const P2PCDN_WORKER: WorkerConfig;

run(self as unknown as Scope, P2PCDN_WORKER);
