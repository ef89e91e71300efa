/** What the numbers mean, in plain words. */
import type { ContentStats, PeerStats } from "../engine";
import type { LoaderStats } from "../loader/start";
import type { Why } from "../loader/why";

const PAGE: Record<Why, string> = {
  insecure:
    "This page is not on https, so browsers allow no sharing. The video comes from the site.",
  "no-worker": "This browser has no service workers. The video comes from the site.",
  "no-webrtc": "This browser has no WebRTC. The video comes from the site.",
  "opted-out": "You opted out of sharing. The video comes from the site.",
  "privacy-signal":
    "Your browser asks for privacy (Global Privacy Control), so nothing is shared with other visitors.",
  "page-off": "The site turned sharing off for this page.",
  "element-off": "The site turned sharing off for this video.",
  "other-origin": "The video, or this script, belongs to another site. It is not shared.",
  "outside-scope": "This page lies outside of the part of the site that is set up for sharing.",
  "foreign-worker":
    "The site has a service worker of its own that does not import p2pcdn's. The video comes from the site.",
  "worker-failed": "The service worker could not be installed. The video comes from the site.",
  "worker-slow": "The service worker is not ready yet. Videos that start now come from the site.",
  "reload-bypass": "The page was reloaded with Shift, which bypasses sharing. Reload it normally.",
  "no-manifest":
    "The site is still preparing this video, or does not share it. It comes from the site.",
  bypassed: "Something went wrong on our way, so the video is played straight from the site.",
  error: "p2pcdn had a fault and got out of the way. The video comes from the site.",
};

/** Whether a content is of this page, and not one of an earlier one that is only passed on. */
export function watched({ videos }: LoaderStats, { url }: ContentStats): boolean {
  return videos.some((video) => video.url === url);
}

/** How the page is doing: where bytes come from, and why from there. */
export interface Verdict {
  readonly state: "peers" | "origin" | "direct";
  readonly words: string;
}

/** Looks, one a second, for which a missed peer is spoken of. */
const REMEMBERED = 60;

/** Who was to be connected to lately, and never was. */
export class Missed {
  readonly #tried = new Map<string, number>();

  /** @returns How many they are, now that the engine knows these peers. */
  after(peers: readonly PeerStats[]): number {
    for (const [id, left] of this.#tried)
      if (left) this.#tried.set(id, left - 1);
      else this.#tried.delete(id);
    for (const { id, state } of peers)
      if (state === "open") this.#tried.delete(id);
      else this.#tried.set(id, REMEMBERED);
    return [...this.#tried.values()].filter((left) => left < REMEMBERED).length;
  }
}

/**
 * @param receiving - Whether bytes came from peers in the last seconds.
 * @param missed - With how many others no connection came about.
 */
export function verdict(stats: LoaderStats, receiving: boolean, missed = 0): Verdict {
  const { why, engine, videos } = stats;
  if (why) return { state: "direct", words: PAGE[why] };
  const playing = videos.filter((video) => video.why === null);
  const [direct] = videos;
  if (!playing.length && direct?.why) return { state: "direct", words: PAGE[direct.why] };
  const contents = engine?.contents.filter((content) => watched(stats, content)) ?? [];
  if (!engine || !contents.length) {
    const words = engine?.contents.length
      ? "You pass on what you watched before."
      : "No video on this page so far.";
    return { state: "origin", words };
  }

  const open = engine.peers.filter((peer) => peer.state === "open").length;
  const connecting = engine.peers.filter((peer) => peer.state === "connecting").length;
  const whole = contents.every(({ held, segments }) => held >= segments);
  const given = engine.contents.reduce((sum, content) => sum + content.uploaded, 0);
  const others = (count: number): string =>
    count === 1 ? "another visitor" : `${String(count)} other visitors`;

  if (receiving) return { state: "peers", words: `You watch with ${others(Math.max(1, open))}.` };
  if (whole) {
    const rest = open ? `, and can help ${others(open)}` : "";
    return { state: given ? "peers" : "origin", words: `The whole video is here${rest}.` };
  }
  if (open && given) return { state: "peers", words: `You help ${others(open)} along.` };
  if (open) {
    const has = open === 1 ? "has" : "have";
    const words = `Connected to ${others(open)}, who ${has} nothing that you lack yet.`;
    return { state: "origin", words };
  }
  if (connecting) return { state: "origin", words: `Connecting to ${others(connecting)} …` };
  if (engine.transport === "none") {
    const words = "The coordinator cannot be reached. The video comes from the site.";
    return { state: "direct", words };
  }
  if (missed) {
    const words = `No connection to ${others(missed)} came about (they left, are busy, or a firewall is between you). The site sends the video.`;
    return { state: "origin", words };
  }
  const words = "You are the first viewer: the site sends the video, and you pass it on.";
  return { state: "origin", words };
}

const CAUSES: Record<string, string> = {
  first: "to start quickly",
  urgent: "needed at once",
  "no-peer": "no visitor had it",
  deadline: "visitors were too slow",
  timeout: "a visitor fell silent",
  busy: "visitors were busy",
  rejected: "wrong bytes, thrown away",
  seed: "your share for the others",
};

/** The most frequent reason why bytes came from the origin, or nothing. */
export function topCause(causes: Readonly<Record<string, number>>): string {
  const [top] = Object.entries(causes).sort(([, a], [, b]) => b - a);
  return top && top[1] > 0 ? (CAUSES[top[0]] ?? top[0]) : "";
}

/** Bytes as people write them: powers of a thousand, three digits. */
export function bytes(count: number): string {
  let unit = 0;
  while (count >= 999.5 && unit < 4) {
    count /= 1000;
    unit++;
  }
  const digits = unit === 0 || count >= 99.5 ? 0 : count >= 9.95 ? 1 : 2;
  return `${count.toFixed(digits)} ${["B", "kB", "MB", "GB", "TB"][unit] ?? ""}`;
}
