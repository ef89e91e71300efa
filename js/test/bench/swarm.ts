/* eslint @typescript-eslint/restrict-template-expressions: ["error", { "allowNumber": true, "allowBoolean": true }] */
/**
 * Viewers of one video in virtual time: deterministic, as fast as the processor allows.
 *
 *   npx esbuild test/bench/swarm.ts --bundle --platform=node --format=esm --outfile=/tmp/swarm.mjs
 *   node /tmp/swarm.mjs viewers=8 every=3 seconds=60 origin=206000 kill=0 seed=1
 */
import { World } from "../sim/world";

const o: Record<string, number> = {
  viewers: 8,
  every: 3,
  seconds: 60,
  kbit: 1100,
  origin: 12.5e6,
  kill: 0,
  seed: 1,
  latency: 0.005,
};
for (const word of process.argv.slice(2)) {
  const [name = "", value] = word.split("=");
  o[name] = Number(value);
}
const {
  viewers = 8,
  every = 3,
  seconds = 60,
  kbit = 1100,
  origin = 0,
  kill = 0,
  seed = 1,
  latency = 0.005,
} = o;
const world = new World({ seed, seconds, bytesPerS: kbit * 125, origin, originLatency: latency });
const began = performance.now();
const views = await world.run(async ({ clock }) => {
  const all = [];
  for (let n = 0; n < viewers; n++) {
    all.push(world.watch({ vanishS: kill && n % 2 ? kill : Infinity }));
    await clock.sleep(every);
  }
  return Promise.all(all);
});
const size = world.origin.file.length;
views.forEach((v, n) => {
  console.log(
    String(n).padStart(3),
    `start ${(v.start * 1000).toFixed(0)} ms, stalls ${v.stalls} (${v.stalledS.toFixed(2)} s), intact ${v.intact},`,
    `origin ${(v.fromOrigin / size).toFixed(3)} peers ${(v.fromPeers / size).toFixed(3)}`,
    JSON.stringify(v.causes),
  );
});
const stalls = views.reduce((sum, v) => sum + v.stalls, 0);
console.log(
  `copies ${world.copies.toFixed(3)}, ${world.origin.requests} requests, ${stalls} stalls,`,
  `${world.hub.messages} messages, ${world.clock.happened} events; ${world.clock.now.toFixed(0)} s in ${((performance.now() - began) / 1000).toFixed(1)} s`,
);
