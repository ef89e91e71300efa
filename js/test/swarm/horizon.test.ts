/** How far ahead of a player a content is fetched. */
import { afterEach, expect, test, vi } from "vitest";
import { first, Player, Site, until } from "./site";

vi.setConfig({ testTimeout: 20_000 });

let site: Site;
afterEach(() => site.stop());

test("what has just begun to play is fetched a little ahead, later all of it", async () => {
  site = await new Site({ size: 6_000_000 }).start();
  let skipped = 0;
  const visitor = site.visitor({ now: () => performance.now() / 1000 + skipped });
  const content = await visitor.content(site.url);
  const player = new Player(60);
  player.loaded = 1;
  content?.attach(player);
  // 100 kB a second of film: not before it has 4 s, not more than the steps it is fetched in.
  await until(() => first(visitor).fromOrigin >= 400_000);
  await new Promise((done) => setTimeout(done, 600));
  expect(first(visitor).fromOrigin).toBeLessThan(1_500_000);
  skipped = 60;
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
