import { expect, it } from "vitest";
// @ts-expect-error -- plain JavaScript, read by the build as it is
import * as build from "../mangled.mjs";
import { buildReport } from "../src/report";

const { MANGLED } = build as { MANGLED: RegExp };

it("the build shortens no name that the browser or the server knows", () => {
  // Media events are the names of handlers in playtimes.ts.
  const names = ["play", "waiting", "playing", "timeupdate", "pause", "seeking"];
  const content = {
    ...{ url: "", key: "", size: 1, segments: 1, held: 1, peers: 1, fromPeers: 1, fromOrigin: 1 },
    ...{ fromCache: 1, uploaded: 1, rejected: 1, stalls: 1, causes: {} },
  };
  const engine = { id: "", transport: "none" as const, peers: [], contents: [content] };
  const times = { startupMs: 1, stallMs: 1, watchedS: 1 };
  const report = buildReport({ engine, times: () => times, direct: {} }, "view", 1, 0, false);
  names.push(...Object.keys(report), ...Object.keys(content), ...Object.keys(times));
  names.push(...Object.keys(report.contents[0] ?? {}));
  expect(names.filter((name) => MANGLED.test(name))).toEqual([]);
});
