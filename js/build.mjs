/**
 * Builds the loader, the engine, the store's persistent part, the worker and the panel into
 * p2pcdn/static/ and holds them to budget.json (bytes after gzip).
 *
 *   node build.mjs [--check] [--out DIR] [--engine FILE]
 *
 * `--check` makes it an error to be over budget.
 * `--engine` puts another createEngine in the place of the swarm's: tests of the page side alone.
 */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { MANGLED } from "./mangled.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    out: { type: "string", default: join(here, "../p2pcdn/static") },
    engine: { type: "string" },
    check: { type: "boolean", default: false },
  },
});

const entries = {
  "loader.js": "src/loader/main.ts",
  "engine.js": "src/swarm/main.ts",
  "stored.js": "src/stored/main.ts",
  "worker.js": "src/worker/main.ts",
  "hud.js": "src/hud/main.ts",
  "noscript.css": "src/noscript.css",
};

/** @type {import("esbuild").Plugin} */
const otherEngine = {
  name: "other-engine",
  setup({ onResolve }) {
    const path = resolve(options.engine ?? "");
    onResolve({ filter: /\/swarm\/engine$/ }, () => ({ path }));
  },
};

const budget = JSON.parse(await readFile(join(here, "budget.json"), "utf8"));
/** Shortened names of the engine: stored.js works inside of it. */
let shared = {};
const work = [];
for (const [name, entry] of Object.entries(entries)) {
  const { outputFiles, mangleCache } = await build({
    absWorkingDir: here,
    entryPoints: [entry],
    bundle: true,
    minify: true,
    write: false,
    // The engine imports stored.js, which must not run twice.
    format: name === "stored.js" ? "esm" : name.endsWith(".js") ? "iife" : undefined,
    // Fields that the constructor sets are not declared besides.
    tsconfigRaw: { compilerOptions: { useDefineForClassFields: false } },
    target: ["es2022", "chrome94", "firefox93", "safari16.4"],
    charset: "ascii",
    legalComments: "none",
    mangleProps: MANGLED,
    mangleCache: name === "stored.js" ? shared : {},
    plugins: options.engine ? [otherEngine] : [],
  });
  const [{ contents }] = outputFiles;
  if (name === "engine.js") shared = mangleCache ?? {};
  work.push({ name, contents, size: gzipSync(contents, { level: 9 }).length });
}

await mkdir(options.out, { recursive: true });
// In one step: a server that starts meanwhile never reads half a file.
for (const { name, contents } of work) {
  const half = join(options.out, `${name}.${process.pid}`);
  await writeFile(half, contents);
  await rename(half, join(options.out, name));
}

let over = false;
for (const { name, size } of work) {
  const most = budget[name];
  over ||= size > most;
  const verdict = size <= most ? "" : "  OVER BUDGET";
  console.log(`${name.padEnd(14)}${String(size).padStart(7)} of ${most} bytes gzip${verdict}`);
}
if (over && options.check) process.exitCode = 1;
