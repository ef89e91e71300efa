/** What a swarm costs its origin, in virtual time: the real engine, the same result each time. */
import { describe, expect, test, vi } from "vitest";
import type { Link, Shared } from "../../src/swarm/link";
import { BUSY, CLAIM, HAVE, REJECT, UNHAVE } from "../../src/swarm/wire";
import { World, type Options, type Viewing } from "./world";

vi.setConfig({ testTimeout: 60_000 });

/** 1.1 Mbit/s. */
const MEDIUM = { seconds: 60, bytesPerS: 137_500 };

interface Plan extends Partial<Options> {
  viewers: number;
  everyS: number;
  /** Every second one is killed after so many seconds of play. */
  killS?: number;
  /** The first so many after the first one send wrong bytes. */
  hostile?: number;
}

async function visits({
  viewers,
  everyS,
  killS,
  hostile = 0,
  ...options
}: Plan): Promise<[World, Viewing[]]> {
  const world = new World({ ...MEDIUM, origin: 12.5e6, ...options });
  const views = await world.run(async ({ clock }) => {
    const all: Promise<Viewing>[] = [];
    for (let n = 0; n < viewers; n++) {
      const vanishS = killS && n % 2 ? killS : Infinity;
      all.push(world.watch({ vanishS, hostile: n > 0 && n <= hostile }));
      await clock.sleep(everyS);
    }
    return Promise.all(all);
  });
  return [world, views];
}

const stalls = (views: Viewing[]): number => views.reduce((sum, v) => sum + v.stalls, 0);

test("eight viewers, one after the other, cost the origin little more than one", async () => {
  const [world, views] = await visits({ viewers: 8, everyS: 3 });
  expect(world.copies).toBeLessThanOrEqual(1.25);
  expect(stalls(views)).toBe(0);
  expect(views.every((v) => v.intact)).toBe(true);
});

test("eight viewers at once share the fetching", async () => {
  const [world, views] = await visits({ viewers: 8, everyS: 0.25 });
  expect(world.copies).toBeLessThanOrEqual(1.7);
  expect(stalls(views)).toBe(0);
});

test("all eight play without a stall from an origin that could not feed two", async () => {
  const [world, views] = await visits({ viewers: 8, everyS: 3, origin: 1.5 * MEDIUM.bytesPerS });
  expect(stalls(views)).toBe(0);
  expect(world.copies).toBeLessThanOrEqual(1.25);
});

test("eight at once on such an origin wait for their start, and then no more", async () => {
  const plan = { viewers: 8, everyS: 0.25, origin: 1.5 * MEDIUM.bytesPerS };
  const [world, views] = await visits(plan);
  // What eight starts take at once, a player with 0.3 s in hand cannot bridge; a browser's waits.
  expect(views.every((v) => v.stalls <= 2)).toBe(true);
  expect(views.flatMap((v) => v.stallsAt).every((at) => at < 3)).toBe(true);
  expect(world.copies).toBeLessThanOrEqual(1.25);
});

test("viewers that are killed in mid-play stop nobody else", async () => {
  const [world, views] = await visits({ viewers: 8, everyS: 3, killS: 10, origin: 412_500 });
  expect(stalls(views.filter((_, n) => n % 2 === 0))).toBe(0);
  expect(world.copies).toBeLessThanOrEqual(1.25);
});

test("three hostile peers of ten corrupt nothing and hardly cost anything", async () => {
  const plan = { viewers: 10, everyS: 2 };
  const offload = (views: Viewing[]): number => {
    const honest = views.slice(4);
    const all = honest.reduce((sum, v) => sum + v.fromPeers + v.fromOrigin, 0);
    return honest.reduce((sum, v) => sum + v.fromPeers, 0) / all;
  };
  const [, calm] = await visits(plan);
  const [world, views] = await visits({ ...plan, hostile: 3 });
  expect(views.every((v) => v.intact)).toBe(true);
  expect(stalls(views)).toBe(0);
  expect(offload(views)).toBeGreaterThanOrEqual(offload(calm) - 0.1);
  expect(world.hub.reports.length).toBeGreaterThan(0);
});

describe("a peer that has nothing and", () => {
  const all = (
    link: Link,
    { number: c }: Shared,
    ...types: (typeof HAVE | typeof UNHAVE | typeof CLAIM)[]
  ): void => {
    for (const type of types) link.say({ type, c, runs: [[0, 127]] });
  };
  test.each([
    [
      "claims everything, with a HAVE of nothing,",
      (link: Link, content: Shared): void => {
        link.say({ type: HAVE, c: content.number, runs: [] });
        all(link, content, CLAIM);
      },
    ],
    [
      "claims everything, with a HAVE that it takes back,",
      (link: Link, content: Shared): void => {
        all(link, content, HAVE, UNHAVE, CLAIM);
      },
    ],
    [
      "claims everything and joins anew",
      (link: Link, content: Shared): void => {
        link.join(content);
        all(link, content, CLAIM);
      },
    ],
    [
      "says that it has everything and is busy",
      (link: Link, content: Shared): void => {
        (link as unknown as { order: unknown }).order = (_: Shared, { rid }: { rid: number }) => {
          link.say({ type: REJECT, rid, reason: BUSY });
        };
        all(link, content, HAVE);
      },
    ],
  ])("%s stops neither a film from a scarce origin nor fetching ahead", async (_how, say) => {
    for (const origin of [1.5 * MEDIUM.bytesPerS, 12.5e6]) {
      const world = new World({ ...MEDIUM, origin });
      const views = await world.run(async ({ clock }) => {
        await world.boast(say);
        const all: Promise<Viewing>[] = [];
        for (let n = 0; n < 4; n++) {
          await clock.sleep(2.5);
          all.push(world.watch());
        }
        return Promise.race([Promise.all(all), clock.sleep(200)]);
      });
      expect(views?.every((v) => v.intact && v.start < 2)).toBe(true);
      // It is believed once, by each.
      expect(views?.every((v) => v.stalledS < 5 && v.stallsAt.every((at) => at < 8))).toBe(true);
      // Most of it is fetched before it is needed, and once.
      const { seed = 0, urgent = 0 } = views?.[0]?.causes ?? {};
      expect(seed).toBeGreaterThan(urgent);
      expect(world.copies).toBeLessThanOrEqual(1.25);
    }
  });
});

test("a viewer alone starts as fast as from the origin, and asks for every byte once", async () => {
  const [world, [view]] = await visits({ viewers: 1, everyS: 0 });
  expect(world.copies).toBeLessThanOrEqual(1.001);
  expect(view?.stalls).toBe(0);
  // Manifest, worker, two round trips.
  expect(view?.start).toBeLessThanOrEqual(0.2);
});

test("the same seed gives the same swarm", async () => {
  const plan = { viewers: 3, everyS: 1, seconds: 15, seed: 7 };
  const [a] = await visits(plan);
  const [b] = await visits(plan);
  expect([a.origin.sent, a.origin.requests]).toEqual([b.origin.sent, b.origin.requests]);
});
