import { afterEach, expect, test } from "vitest";
import type { SwarmContent } from "../../src/swarm/content";
import { first, Site, until, whole } from "./site";

let site: Site;
afterEach(() => site.stop());

test("a visitor alone gets the file's bytes from the origin, once", async () => {
  site = await new Site().start();
  const a = site.visitor();
  expect(site.file.equals(await whole(a, site.url))).toBe(true);
  expect(site.sent).toBeLessThanOrEqual(site.file.length);
  await until(() => first(a).held === 16);
  expect(first(a)).toMatchObject({ fromOrigin: site.file.length, fromPeers: 0 });
});

test("how long the worker took for a film's beginning is a guess of what the origin gives", async () => {
  site = await new Site().start();
  const a = site.visitor();
  const bytes = new Uint8Array(site.file.subarray(0, 32_768));
  a.begun?.(site.url, bytes, 0, 4);
  const content = (await a.content(site.url)) as SwarmContent;
  await until(() => content.origin.rate === 8192);
});

test("the second visitor gets nearly everything from the first", { timeout: 20_000 }, async () => {
  site = await new Site({ size: 4_000_000 }).start();
  const a = site.visitor();
  await whole(a, site.url);
  await until(() => first(a).held === first(a).segments);
  const before = site.sent;
  const b = site.visitor();
  expect(site.file.equals(await whole(b, site.url))).toBe(true);
  await until(() => first(b).held === first(b).segments);
  expect(site.sent - before).toBeLessThanOrEqual(0.05 * site.file.length);
  expect(first(b).fromPeers).toBeGreaterThanOrEqual(0.95 * site.file.length);
  expect(first(a).uploaded).toBeGreaterThanOrEqual(first(b).fromPeers);
});
