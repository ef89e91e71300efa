import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ContentStats, EngineStats, PeerStats } from "../src/engine";
import { buildReport, linkName, sendReports, type Report, type ReportSource } from "../src/report";
import { measure } from "../src/playtimes";

const content: ContentStats = {
  url: "https://example.org/media/a.mp4?signature=secret",
  key: "0123456789abcdef0123456789abcdef",
  size: 8_000_000,
  segments: 64,
  held: 16,
  peers: 2,
  fromPeers: 3_000_000,
  fromOrigin: 1_000_000,
  fromCache: 0,
  uploaded: 500_000,
  rejected: 1,
  stalls: 0,
  causes: { first: 2, "no-peer": 6 },
};

const open: PeerStats = { id: "peer-b", state: "open", rttMs: 12, received: 100, sent: 50 };

const engine: EngineStats = {
  id: "peer-a",
  transport: "websocket",
  peers: [open, { id: "peer-c", state: "connecting", rttMs: null, received: 0, sent: 0 }],
  contents: [content],
};

const source = (change: Partial<ContentStats> = {}): ReportSource => ({
  engine: { ...engine, contents: [{ ...content, ...change }] },
  times: () => ({ startupMs: 210, stallMs: 0, watchedS: 12 }),
  direct: {},
});

describe("a report", () => {
  it("says everything under the names that the server reads", () => {
    expect(buildReport(source(), "view-1234", 3, 0, false)).toEqual({
      view: "view-1234",
      seq: 3,
      idle_s: 0,
      final: false,
      transport: "websocket",
      direct: {},
      links: [[linkName("peer-a", "peer-b"), 150]],
      contents: [
        {
          url: "https://example.org/media/a.mp4",
          key: content.key,
          size: 8_000_000,
          segments: 64,
          held: 16,
          peers: 2,
          from_peers: 3_000_000,
          from_origin: 1_000_000,
          from_cache: 0,
          uploaded: 500_000,
          rejected: 1,
          stalls: 0,
          causes: { first: 2, "no-peer": 6 },
          startup_ms: 210,
          stall_ms: 0,
          watched_s: 12,
        },
      ],
    });
  });

  it("never carries the signature of a signed URL, nor the id of a peer", () => {
    const text = JSON.stringify(buildReport(source(), "view-1234", 1, 0, true));
    expect(text).not.toMatch(/secret|peer-a|peer-b/);
  });

  it("gives a link the same name at both of its ends", () => {
    expect(linkName("x", "y")).toBe(linkName("y", "x"));
    expect(linkName("x", "y")).not.toBe(linkName("x", "z"));
    expect(linkName("x", "y")).toMatch(/^[0-9a-f]{1,8}$/);
  });

  it("fits into what the server takes, however many videos and peers a page has", () => {
    const many = {
      ...source(),
      engine: {
        ...engine,
        peers: Array.from({ length: 500 }, (_, i) => ({ ...open, id: `p${String(i)}` })),
        contents: Array.from({ length: 100 }, () => content),
      },
    };
    const report = buildReport(many, "view-1234", 1, 0, false);
    expect(report.contents).toHaveLength(32);
    expect(JSON.stringify(report).length).toBeLessThan(16 * 1024);
  });
});

describe("sending", () => {
  const sent: Report[] = [];
  const beacons: Report[] = [];
  let online = true;

  beforeEach(() => {
    vi.useFakeTimers();
    sent.length = beacons.length = 0;
    online = true;
    const events = new EventTarget();
    vi.stubGlobal("addEventListener", events.addEventListener.bind(events));
    vi.stubGlobal("dispatchEvent", events.dispatchEvent.bind(events));
    vi.stubGlobal("document", { hidden: false });
    vi.stubGlobal("navigator", {
      sendBeacon: (_url: string, body: string) => {
        beacons.push(JSON.parse(body) as Report);
        return true;
      },
    });
    vi.stubGlobal("fetch", (_url: string, { body }: { body: string }) => {
      if (!online) return Promise.reject(new TypeError("offline"));
      sent.push(JSON.parse(body) as Report);
      return Promise.resolve(new Response(null, { status: 204 }));
    });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("tells only what is new, so that a page without news costs nothing", () => {
    let now = source();
    sendReports("/report", () => now);
    vi.advanceTimersByTime(60_000);
    expect(sent).toHaveLength(1);
    now = source({ fromPeers: 4_000_000 });
    vi.advanceTimersByTime(60_000);
    expect(sent.map((report) => report.seq)).toEqual([1, 2]);
    expect(sent[1]?.view).toBe(sent[0]?.view);
    expect(sent[1]?.view).toMatch(/^[A-Za-z0-9_-]{8,64}$/);
  });

  it("tells soon of a short visit, whose last report may get lost", () => {
    sendReports("/report", () => source());
    vi.advanceTimersByTime(4000);
    expect(sent).toHaveLength(1);
  });

  it("never reports a page on which nothing happened", () => {
    sendReports("/report", () => ({ engine: undefined, times: () => undefined, direct: {} }));
    vi.advanceTimersByTime(60_000);
    dispatchEvent(new Event("pagehide"));
    expect(sent).toHaveLength(0);
    expect(beacons).toHaveLength(0);
  });

  it("sends a last report when the page goes, even if it says nothing new", () => {
    sendReports("/report", () => source());
    vi.advanceTimersByTime(10_000);
    dispatchEvent(new Event("pagehide"));
    expect(beacons.map((report) => [report.seq, report.final])).toEqual([[2, true]]);
  });

  it("says nothing after the last report, when the engine is closed and the page hidden", () => {
    let now = source();
    sendReports("/report", () => now);
    vi.advanceTimersByTime(10_000);
    dispatchEvent(new Event("pagehide"));
    now = { engine: undefined, times: () => undefined, direct: {} };
    vi.stubGlobal("document", { hidden: true });
    dispatchEvent(new Event("visibilitychange"));
    expect([sent.length, beacons.length]).toEqual([1, 1]);
    // Back from the back/forward cache, with a new engine.
    now = source({ fromPeers: 1 });
    vi.advanceTimersByTime(10_000);
    expect(sent).toHaveLength(2);
  });

  it("loses nothing with a lost report: the next one has it all", async () => {
    let now = source();
    sendReports("/report", () => now);
    online = false;
    await vi.advanceTimersByTimeAsync(10_000);
    online = true;
    now = source({ fromPeers: 5_000_000 });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(sent.map((report) => report.contents[0]?.from_peers)).toEqual([5_000_000]);
  });

  it("tells how long it was silent, so that nothing is counted twice after a long pause", () => {
    let now = source();
    sendReports("/report", () => now);
    vi.advanceTimersByTime(3_600_000);
    now = source({ fromPeers: 5_000_000 });
    vi.advanceTimersByTime(10_000);
    expect(sent[0]?.idle_s).toBe(0);
    expect(sent[1]?.idle_s).toBe(3607);
  });

  it("goes over the coordinator's socket where it has one", () => {
    const messages: Report[] = [];
    sendReports("/report", source, (report) => messages.push(report) > 0);
    vi.advanceTimersByTime(10_000);
    expect(messages).toHaveLength(1);
    expect(sent).toHaveLength(0);
    dispatchEvent(new Event("pagehide"));
    expect(beacons).toHaveLength(1);
  });
});

describe("measuring a player", () => {
  class Player extends EventTarget {
    paused = true;
    seeking = false;
    say(name: string): void {
      this.dispatchEvent(new Event(name));
    }
  }
  const begin = (): {
    player: Player;
    at: (ms: number) => void;
    times: ReturnType<typeof measure>;
  } => {
    const player = new Player();
    let now = 1000;
    const times = measure(player as unknown as HTMLMediaElement, () => now);
    return { player, at: (ms) => (now = 1000 + ms), times };
  };

  it("counts the time from wanting to play to the first frame as start-up, once", () => {
    const { player, at, times } = begin();
    player.paused = false;
    player.say("play");
    player.say("waiting");
    at(240);
    player.say("playing");
    at(9000);
    player.say("pause");
    player.say("play");
    at(9900);
    player.say("playing");
    expect(times()).toMatchObject({ startupMs: 240, stalls: 0, stallMs: 0 });
  });

  it("counts an interruption, but not the wait after a seek", () => {
    const { player, at, times } = begin();
    player.paused = false;
    player.say("play");
    player.say("playing");
    at(5000);
    player.say("timeupdate");
    player.say("waiting");
    at(5600);
    player.say("playing");
    player.seeking = true;
    player.say("seeking");
    player.say("waiting");
    at(7000);
    player.seeking = false;
    player.say("playing");
    expect(times()).toEqual({ startupMs: 0, stalls: 1, stallMs: 600, watchedS: 5 });
  });

  it("counts an interruption that has not ended", () => {
    const { player, at, times } = begin();
    player.paused = false;
    player.say("play");
    at(100);
    player.say("playing");
    at(1000);
    player.say("waiting");
    at(4000);
    expect(times()).toMatchObject({ stalls: 1, stallMs: 3000 });
  });

  it("does not count the time that a player is paused as watched", () => {
    const { player, at, times } = begin();
    player.paused = false;
    player.say("play");
    player.say("playing");
    at(3000);
    player.say("timeupdate");
    player.paused = true;
    player.say("pause");
    at(600_000);
    player.paused = false;
    player.say("playing");
    at(602_000);
    player.say("timeupdate");
    expect(times().watchedS).toBe(5);
  });
});
