import { describe, expect, it } from "vitest";
import type { ContentStats, EngineStats, PeerStats } from "../../src/engine";
import { bytes, Missed, topCause, verdict } from "../../src/hud/words";
import type { LoaderStats } from "../../src/loader/start";

const content: ContentStats = {
  url: "http://site/a.mp4",
  key: "k",
  size: 1000,
  segments: 10,
  held: 3,
  peers: 0,
  fromPeers: 0,
  fromOrigin: 300,
  fromCache: 0,
  uploaded: 0,
  rejected: 0,
  stalls: 0,
  causes: {},
};

function stats(engine: Partial<EngineStats>, page: Partial<LoaderStats> = {}): LoaderStats {
  return {
    version: "v",
    why: null,
    videos: [{ url: content.url, why: null }],
    engine: { id: "me", transport: "websocket", peers: [], contents: [content], ...engine },
    ...page,
  };
}

const peer = (state: PeerStats["state"]): PeerStats => ({
  id: "p",
  state,
  rttMs: 5,
  received: 0,
  sent: 0,
});

describe("the panel says", () => {
  it.each<[string, LoaderStats, boolean, RegExp]>([
    ["that nobody else is here", stats({}), false, /first viewer/],
    ["that nobody can be found", stats({ transport: "none" }), false, /coordinator cannot/],
    ["who sends", stats({ peers: [peer("open")] }), true, /with another visitor/],
    [
      "who could send",
      stats({ peers: [peer("open"), peer("open")] }),
      false,
      /2 other visitors, who/,
    ],
    ["who comes", stats({ peers: [peer("connecting")] }), false, /Connecting to another/],
    [
      "that it is done",
      stats({ contents: [{ ...content, held: 10 }] }),
      false,
      /whole video is here/,
    ],
    [
      "that it is done, whatever is passed on of an earlier page",
      stats({
        contents: [
          { ...content, held: 10 },
          { ...content, url: "http://site/earlier.mp4" },
        ],
      }),
      false,
      /whole video is here/,
    ],
    [
      "that only what was watched before is passed on",
      stats({}, { videos: [] }),
      false,
      /pass on what you watched before/,
    ],
    ["why nothing is shared", stats({}, { why: "no-webrtc" }), false, /no WebRTC/],
    [
      "why this video is not shared",
      stats({ contents: [] }, { videos: [{ url: content.url, why: "no-manifest" }] }),
      false,
      /still preparing/,
    ],
  ])("%s", (_, given, receiving, words) => {
    expect(verdict(given, receiving).words).toMatch(words);
  });

  it("that others are there, but cannot be reached", () => {
    const missed = new Missed();
    const now = (...peers: PeerStats[]): string =>
      verdict(stats({ peers }), false, missed.after(peers)).words;
    expect(now()).toMatch(/first viewer/);
    expect(now(peer("connecting"))).toMatch(/Connecting to another/);
    expect(now()).toMatch(/No connection to another visitor came about/);
    for (let seconds = 0; seconds < 60; seconds++) now();
    expect(now()).toMatch(/first viewer/);
    now(peer("connecting"));
    expect(now(peer("open"))).toMatch(/Connected to another/);
    expect(now()).toMatch(/first viewer/);
  });

  it("bytes as people write them", () => {
    expect([0, 999, 1000, 12_345, 999_499, 999_999, 7_400_000].map(bytes)).toEqual([
      "0 B",
      "999 B",
      "1.00 kB",
      "12.3 kB",
      "999 kB",
      "1.00 MB",
      "7.40 MB",
    ]);
  });

  it("the cause that counts most", () => {
    expect(topCause({ first: 1, "no-peer": 9 })).toBe("no visitor had it");
    expect(topCause({})).toBe("");
  });
});
