/** How far ahead of a player a content is fetched. */
import { afterEach, expect, test, vi } from "vitest";
import { first, Player, Site, until, whole } from "./site";

vi.setConfig({ testTimeout: 20_000 });

let site: Site;
afterEach(() => site.stop());

test("what has just begun to play is fetched a little ahead of others, later all of it", async () => {
  site = await new Site({ size: 6_000_000 }).start();
  const seed = site.visitor();
  await whole(seed, site.url);
  await until(() => first(seed).held === first(seed).segments);
  let skipped = 0;
  const visitor = site.visitor({ now: () => performance.now() / 1000 + skipped });
  const content = await visitor.content(site.url);
  await until(() => first(visitor).peers > 0);
  // A film of 60 s, 100 kB each, of which a second is in hand.
  const player = new Player(60);
  player.loaded = 1;
  content?.attach(player);
  await until(() => first(visitor).held > 2);
  await new Promise((done) => setTimeout(done, 600));
  expect(first(visitor).held).toBeLessThan(6);
  // A minute goes by, in steps that no link takes for silence.
  const passing = setInterval(() => (skipped += 0.5), 20);
  await until(() => first(visitor).held === first(visitor).segments);
  clearInterval(passing);
  expect(skipped).toBeGreaterThan(5);
});

test("who is alone keeps nobody busy, and fetches all", async () => {
  site = await new Site({ size: 1_500_000 }).start();
  const visitor = site.visitor();
  const content = await visitor.content(site.url);
  const player = new Player(15);
  player.loaded = 1;
  content?.attach(player);
  await until(() => first(visitor).held === first(visitor).segments);
});

test("what is paused before it has begun is not held to that", async () => {
  site = await new Site({ size: 1_500_000 }).start();
  const visitor = site.visitor();
  const content = await visitor.content(site.url);
  const player = new Player(15);
  player.paused = true;
  content?.attach(player);
  await until(() => first(visitor).held === first(visitor).segments);
});
