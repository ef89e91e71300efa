import type { ContentStats, EngineStats } from "./engine";

/** An engine that has not come, or is gone. */
export const NONE: EngineStats = { id: "", transport: "none", peers: [], contents: [] };

/** What a player measured (see playtimes.ts); absent where no player is attached. */
export interface PlayTimes {
  readonly startupMs: number | null;
  readonly stallMs: number;
  readonly watchedS: number;
}

/** One report; cumulative since the view began. Python twin: p2pcdn/stats/report.py. */
export interface Report {
  readonly view: string;
  readonly seq: number;
  /** Time since the report before: the server may have forgotten the view by now. */
  readonly idle_s: number;
  readonly transport: string;
  readonly final: boolean;
  /** Open links: a name that both ends give it, and the bytes it carried. */
  readonly links: readonly (readonly [string, number])[];
  /** Videos that play straight from the origin, by reason. */
  readonly direct: Readonly<Record<string, number>>;
  readonly contents: readonly Readonly<Record<string, unknown>>[];
}

export interface ReportSource {
  readonly engine: EngineStats | undefined;
  readonly times: (url: string) => PlayTimes | undefined;
  readonly direct: Readonly<Record<string, number>>;
}

/** The server takes no more in one report. */
const MAX_CONTENTS = 32;
const MAX_LINKS = 64;

/** Both ends of a link come to the same name, and nobody learns an id from it (FNV-1a). */
export function linkName(a: string, b: string): string {
  let hash = 0x811c9dc5;
  for (const c of [a, b].sort().join()) hash = Math.imul(hash ^ c.charCodeAt(0), 0x01000193);
  return (hash >>> 0).toString(16);
}

export function buildReport(
  { engine, times, direct }: ReportSource,
  view: string,
  seq: number,
  idleS: number,
  final: boolean,
): Report {
  const { id, transport, peers, contents } = engine ?? NONE;
  return {
    view,
    seq,
    idle_s: idleS,
    final,
    direct,
    transport,
    links: peers
      .filter((peer) => peer.state === "open")
      .map((peer) => [linkName(id, peer.id), peer.received + peer.sent] as const)
      .slice(0, MAX_LINKS),
    contents: contents.slice(-MAX_CONTENTS).map((c) => line(c, times(c.url))),
  };
}

/** As the server calls it: `fromPeers` is `from_peers`. A signed query stays here. */
function line(content: ContentStats, times: PlayTimes | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries({ ...content, ...times, url: content.url.split("?")[0] }).map(
      ([name, value]) => [name.replace(/[A-Z]/g, "_$&").toLowerCase(), value],
    ),
  );
}

const EVERY_MS = 10_000;
const SOON_MS = 3000;

/**
 * Send reports to `url` while something changes, and a last one when the page goes.
 *
 * `message` may carry a report another way (to the coordinator); true: it does.
 */
export function sendReports(
  url: string,
  source: () => ReportSource,
  message?: (report: Report) => boolean | undefined,
): void {
  // Not randomUUID: an insecure page reports too, that it is one.
  const view = crypto.getRandomValues(new Uint32Array(3)).join("-");
  let seq = 0;
  let at = 0;
  let told = "[[],{}]";
  const send = (final: boolean): void => {
    const now = Date.now();
    const report = buildReport(source(), view, seq + 1, seq && (now - at) / 1000, final);
    const news = JSON.stringify([report.contents, report.direct]);
    // The final one also says that nobody watches any more; after it the engine is gone.
    if (!(final ? seq : news !== told && (report.contents[0] ?? !seq))) return;
    told = news;
    at = now;
    seq++;
    const body = JSON.stringify(report);
    // Needs no answer: what is lost is in the next one. A beacon outlives the page.
    if (!(final ? navigator.sendBeacon(url, body) : message?.(report)))
      fetch(url, { method: "POST", body, keepalive: true }).catch(() => 0);
  };
  // Soon once: the last report of a short visit may get lost.
  setTimeout(send, SOON_MS, false);
  setInterval(send, EVERY_MS, false);
  // Not "unload": it never comes on phones, and keeps the page out of the back-forward cache.
  addEventListener("pagehide", () => {
    send(true);
  });
  addEventListener("visibilitychange", () => {
    if (document.hidden) send(false);
  });
}
