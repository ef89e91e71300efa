/* eslint @typescript-eslint/restrict-template-expressions: ["error", { "allowNumber": true, "allowBoolean": true }] */
/* eslint-disable @typescript-eslint/no-non-null-assertion -- a test that fails there fails rightly */
/**
 * Several viewers of one video in one process, over real data channels and real HTTP.
 *
 *   node build.mjs is not needed: npx esbuild test/bench/viewers.ts --bundle --platform=node \
 *     --format=esm --outfile=/tmp/viewers.mjs && node /tmp/viewers.mjs viewers=8 every=3 seconds=60
 *
 * Prints copies of the file that the origin sent, stalls, and the time to a first frame.
 */
import { Player, Site, first } from "../swarm/site";

const options: Record<string, number> = {
  viewers: 8,
  every: 3,
  seconds: 60,
  kbit: 1100,
  /** Bytes per second of the origin in all; 0: unlimited. */
  origin: 0,
  delayMs: 5,
  /** Kill every second viewer after this many seconds of its play; 0: never. */
  kill: 0,
  trace: 0,
  /** Print every answer of the origin. */
  log: 0,
};
for (const word of process.argv.slice(2)) {
  const [name, value] = word.split("=");
  options[name!] = Number(value);
}
const { viewers, every, seconds, kbit, kill } = options as Required<typeof options>;
const rate = (kbit! * 1000) / 8;
const HEAD = 40_000;
const size = Math.round(HEAD + rate * seconds!);
const site = await new Site({ size, segmentBytes: 65536 }).start();
site.delayMs = options.delayMs!;
site.capacity = options.origin!;
const sleep = (s: number): Promise<void> => new Promise((done) => setTimeout(done, s * 1000));

interface Result {
  start: number;
  stalls: number;
  stalled: number;
  causes: Record<string, number>;
  origin: number;
  peers: number;
}

async function watch(n: number): Promise<Result | null> {
  const began = performance.now();
  const engine = site.visitor();
  const content = (await engine.content(site.url))!;
  await sleep(0.08); // the worker takes control
  const player = new Player(seconds!);
  content.attach(player);
  let bytes = 0;
  let dead = false as boolean;
  void (async () => {
    for await (const piece of content.read(0, size, new AbortController().signal)) {
      bytes += piece.length;
      player.loaded = Math.max(0, (bytes - HEAD) / rate);
      while (player.loaded > player.currentTime + 30 && !dead) await sleep(0.1);
      if (dead) return;
    }
  })().catch(() => undefined);
  const result = { start: -1, stalls: 0, stalled: 0 };
  let last = performance.now();
  let stalling = true;
  while (player.currentTime < seconds! - 0.1) {
    await sleep(0.02);
    const now = performance.now();
    const ahead = player.loaded - player.currentTime;
    if (stalling ? ahead > 0.3 || player.loaded >= seconds! - 0.1 : ahead > 0.03) {
      if (stalling && result.start < 0) result.start = now - began;
      stalling = false;
      player.currentTime = Math.min(player.loaded, player.currentTime + (now - last) / 1000);
    } else if (result.start >= 0) {
      if (!stalling) result.stalls++;
      stalling = true;
      result.stalled += (now - last) / 1000;
    }
    last = now;
    if (options.trace && Math.random() < 0.02) {
      const s = first(engine);
      console.log(
        n,
        player.currentTime.toFixed(1),
        player.loaded.toFixed(1),
        s.held,
        s.peers,
        JSON.stringify(s.causes),
      );
    }
    if (kill && n % 2 && player.currentTime > kill) {
      dead = true;
      engine.close();
      return null;
    }
  }
  const { causes, fromOrigin, fromPeers } = first(engine);
  return { ...result, causes, origin: fromOrigin, peers: fromPeers };
}

const runs: Promise<Result | null>[] = [];
for (let n = 0; n < viewers!; n++) {
  runs.push(watch(n));
  if (n < viewers! - 1) await sleep(every!);
}
for (const [n, r] of (await Promise.all(runs)).entries()) {
  if (!r) console.log(n, "left");
  else
    console.log(
      n,
      `start ${r.start.toFixed(0)} ms, ${r.stalls} stalls ${r.stalled.toFixed(2)} s,`,
      `origin ${(r.origin / size).toFixed(3)} peers ${(r.peers / size).toFixed(3)}`,
      JSON.stringify(r.causes),
    );
}
console.log(
  `copies from the origin: ${(site.sent / size).toFixed(3)} in ${site.requests.length} requests`,
);
if (options.log) console.log(site.log.join("\n"));
await site.stop();
process.exit(0);
