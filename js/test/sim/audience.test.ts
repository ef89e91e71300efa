/** Swarms over lines as they are sold, behind routers as they are, with visitors who vanish. */
import { expect, test, vi } from "vitest";
import { play, type Plan } from "./audience";

vi.setConfig({ testTimeout: 120_000 });

const PLAN: Plan = {
  viewers: 40,
  pattern: "steady",
  seconds: 60,
  bytesPerS: 137_500,
  segmentBytes: 65_536,
  origin: 125e6,
  uplink: null,
  seed: 3,
};

test("a steady audience takes nine tenths of the possible from each other, and nobody stalls", async () => {
  const seen = await play(PLAN);
  expect(seen.ofPossible).toBeGreaterThanOrEqual(0.9);
  expect(seen.stalls).toBe(0);
  expect(seen.intact).toBe(true);
});

test("when half of the audience vanishes in one second the others play on", async () => {
  const seen = await play({ ...PLAN, pattern: "departure" });
  expect(seen.stalls).toBe(0);
  expect(seen.offload).toBeGreaterThanOrEqual(0.8);
});

test("uplinks of 1.2 times the bitrate and half an origin stall nobody", async () => {
  const plan = { ...PLAN, viewers: 50, seed: 1, uplink: 1.2 };
  const seen = await play({ ...plan, origin: 0.5 * plan.viewers * plan.bytesPerS });
  expect(seen.stalls).toBe(0);
});

test("what a peer says does not grow with the swarm", async () => {
  // More than have links to each other in both.
  const few = await play({ ...PLAN, viewers: 40, seconds: 20 });
  const many = await play({ ...PLAN, viewers: 120, seconds: 20 });
  expect(many.coordinatorPerPeer).toBeLessThan(1.5 * few.coordinatorPerPeer);
  expect(many.wirePerPeerS).toBeLessThan(1.5 * few.wirePerPeerS);
});
