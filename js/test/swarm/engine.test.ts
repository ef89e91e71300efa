import { afterEach, expect, test } from "vitest";
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
