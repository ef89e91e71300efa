import type { EngineScript } from "../loader/lazy";
import { createEngine } from "../swarm/engine";

(document.currentScript as EngineScript | null)?.p2pcdn?.((config, base, early) =>
  createEngine(config, base, early),
);
