/**
 * Swarms of ten to ten thousand peers in virtual time: `make simulate`.
 *
 *   node simulate.mjs [--most N] [--only scale|uplink] [--jobs N] [--draw] --docs DIR
 *
 * Every plan runs in a process of its own. What was found is kept in DIR/simulation.json, its
 * tables go into DIR/simulation.md, its plots into DIR/images/.
 */
import { execFile } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { play, PATTERNS, type Plan, type Summary } from "./audience";
import { charts, tables, type Found } from "./report";
import { svg } from "./plot";

const { values: options } = parseArgs({
  options: {
    most: { type: "string", default: "1000" },
    only: { type: "string" },
    jobs: { type: "string", default: String(availableParallelism()) },
    draw: { type: "boolean", default: false },
    docs: { type: "string", default: "../docs" },
    plan: { type: "string" },
  },
});

/** 60 s of 1.1 Mbit/s, as in `make bench-swarm`; an origin of 1 Gbit/s. */
const FILM = {
  seconds: 60,
  bytesPerS: 137_500,
  segmentBytes: 65_536,
  origin: 125e6,
  uplink: null,
  seed: 1,
};
const SIZES = [10, 100, 1000, 10_000];
/** Beyond a thousand only the asked pattern is played, and half of the film: it takes its time. */
const MANY = 1000;
const SHORT_S = 30;
const UPLINKS = [0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.5, 2];
const SWEPT = 50;
/** What the origin gives in the sweep, in multiples of what all viewers need together. */
const ORIGIN_SHARES = [0.25, 0.5];

function plans(most: number): Plan[] {
  const sizes = SIZES.filter((n) => n <= most);
  const scale: Plan[] = [
    ...sizes.map((viewers) => ({ ...FILM, seconds: SHORT_S, viewers, pattern: "steady" as const })),
    ...sizes
      .filter((viewers) => viewers <= MANY)
      .flatMap((viewers) => PATTERNS.map((pattern) => ({ ...FILM, viewers, pattern }))),
  ];
  const uplink = ORIGIN_SHARES.flatMap((share) =>
    UPLINKS.map((times) => ({
      ...FILM,
      viewers: SWEPT,
      pattern: "steady" as const,
      uplink: times,
      origin: share * SWEPT * FILM.bytesPerS,
    })),
  );
  return options.only === "scale"
    ? scale
    : options.only === "uplink"
      ? uplink
      : [...scale, ...uplink];
}

/** One plan in a process of its own: its memory is gone with it, its processor time is its own. */
function apart(plan: Plan): Promise<Summary> {
  return new Promise((resolve, reject) => {
    const script = process.argv[1] ?? "";
    const roomy = ["--max-old-space-size=16384", script, "--plan", JSON.stringify(plan)];
    execFile(process.execPath, roomy, { maxBuffer: 1 << 24 }, (error, stdout) => {
      if (error) reject(new Error(error.message));
      else resolve(JSON.parse(stdout) as Summary);
    });
  });
}

async function main(): Promise<void> {
  const file = join(options.docs, "simulation.json");
  const found = new Map<string, Found>();
  if (existsSync(file))
    for (const one of JSON.parse(readFileSync(file, "utf8")) as Found[])
      found.set(JSON.stringify(one.plan), one);
  const waiting = options.draw ? [] : plans(Number(options.most));
  const work = async (): Promise<void> => {
    for (let plan = waiting.shift(); plan; plan = waiting.shift()) {
      const began = performance.now();
      const summary = await apart(plan);
      found.set(JSON.stringify(plan), { plan, summary });
      const { viewers, pattern, uplink } = plan;
      const lines = uplink === null ? "" : `, uplink ${String(uplink)} x`;
      console.log(
        `${String(viewers).padStart(6)} ${pattern}${lines}: ${(100 * summary.offload).toFixed(1)} % from peers,`,
        `${String(summary.stalls)} stalls; ${((performance.now() - began) / 1000).toFixed(0)} s`,
      );
      writeFileSync(file, `${JSON.stringify([...found.values()], null, 1)}\n`);
    }
  };
  await Promise.all(Array.from({ length: Number(options.jobs) }, work));
  const all = [...found.values()];
  for (const [name, chart] of Object.entries(charts(all)))
    writeFileSync(join(options.docs, "images", `simulation-${name}.svg`), svg(chart));
  const page = join(options.docs, "simulation.md");
  let text = readFileSync(page, "utf8");
  for (const [name, table] of Object.entries(tables(all))) {
    const marks = new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- end -->)`);
    text = text.replace(marks, (_, a: string, b: string) => `${a}\n${table}\n${b}`);
    console.log(`\n${table}`);
  }
  writeFileSync(page, text);
}

/** How far one plan is goes to standard error: ten thousand peers take a core well over an hour. */
async function alone(plan: Plan): Promise<void> {
  const summary = await play(plan, (second, present) => {
    const used = (process.cpuUsage().user / 1e6).toFixed(0);
    console.error(`second ${second.toFixed(0)}: ${String(present)} visitors, ${used} s of a core`);
  });
  console.log(JSON.stringify(summary));
}

if (options.plan) await alone(JSON.parse(options.plan) as Plan);
else await main();
