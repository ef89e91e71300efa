/** What the origin says of a content (Python twin: p2pcdn/web/manifest.py). */
import { sleep } from "../within";
import { MAX_SEGMENTS } from "./wire";

/** Who shares a presentation: found once, not once a segment. */
export interface Group {
  readonly key: string;
  readonly token: string;
  /** Unix seconds. */
  readonly expires: number;
  /** It grows and forgets. */
  readonly live?: boolean;
}

export interface Manifest {
  /** Path and query. */
  readonly url: string;
  readonly key: string;
  readonly size: number;
  readonly type: string;
  readonly segmentBytes: number;
  readonly hashes: Uint8Array;
  readonly token: string;
  /** Unix seconds. */
  readonly expires: number;
  /** Servers with credentials that run out; undefined where the loader's own list is all. */
  readonly ice: RTCIceServer[] | undefined;
  readonly group: Group | undefined;
  /** Manifests of the group's segments that follow. */
  readonly next: readonly Manifest[];
}

/** A manifest, or in how many seconds to ask again. */
export type Answer = Manifest | number;

const MAX_SEGMENT_BYTES = 1 << 26;
/** No player waits for it that needs bytes: it gets the network's. */
export const PATIENCE_MS = 20_000;
/** What cannot be shared will hardly be sharable soon. */
const REFUSED_S = 60;
const FAILED_S = 5;
/** So long a new video's hashes are asked for: with them its first visitor becomes a source. */
const MAKING_MS = 30_000;
/** Often at first, when the swarm would soon have a source; the next segment has another question. */
const SOON_MS = 1200;

/** Where the manifest of an absolute media URL is asked for. */
export function manifestUrl(
  base: URL,
  url: string,
  peer: string,
  playlists: readonly string[],
): string {
  const { pathname, search } = new URL(url);
  const question = new URL("manifest", base);
  const asked = new URLSearchParams({ url: pathname + search, peer });
  for (const playlist of playlists) asked.append("playlist", playlist);
  question.search = asked.toString();
  return question.href;
}

/** Asks for the manifest of an absolute media URL. Never rejects. */
export async function askManifest(
  fetch: typeof globalThis.fetch,
  base: URL,
  url: string,
  peer: string,
  playlists: readonly string[],
  until = performance.now() + (playlists.length ? SOON_MS : MAKING_MS),
): Promise<Answer> {
  try {
    const response = await fetch(manifestUrl(base, url, peer, playlists), {
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (response.status === 429 || response.status >= 500) return FAILED_S;
    if (response.status >= 400) return REFUSED_S;
    const body = (await response.json()) as Record<string, unknown>;
    if (response.status === 200) return parseManifest(body) ?? REFUSED_S;
    const after = Number(body.retry_after);
    const soon = playlists.length || until - performance.now() > MAKING_MS - SOON_MS;
    const pause = 1000 * Math.max(0.05, Math.min(after, soon ? 0.25 : 5));
    if (after > 0 && performance.now() + pause < until) {
      await sleep(pause);
      return await askManifest(fetch, base, url, peer, playlists, until);
    }
    return after > 0 ? Math.min(after, REFUSED_S) : FAILED_S;
  } catch {
    return FAILED_S;
  }
}

/** The manifest in a JSON object; null where anything in it cannot be. */
export function parseManifest(body: Record<string, unknown>): Manifest | null {
  const { key, url, size, type, segment_bytes, hashes, expires, ice, next } = body;
  const { token = "" } = body;
  const group = body.group as Partial<Group> | undefined;
  const whole = (n: unknown, most: number): n is number =>
    Number.isSafeInteger(n) && (n as number) > 0 && (n as number) <= most;
  if (!isKey(key) || (group && !isKey(group.key))) return null;
  if (!whole(size, Number.MAX_SAFE_INTEGER) || !whole(segment_bytes, MAX_SEGMENT_BYTES))
    return null;
  if (typeof hashes !== "string" || typeof token !== "string") return null;
  const list = Uint8Array.from(atob(hashes), (c) => c.charCodeAt(0));
  const segments = Math.ceil(size / segment_bytes);
  if (segments > MAX_SEGMENTS || list.length !== segments * 32) return null;
  return {
    key,
    url: String(url),
    size,
    type: typeof type === "string" ? type : "application/octet-stream",
    segmentBytes: segment_bytes,
    hashes: list,
    token,
    expires: typeof expires === "number" ? expires : Infinity,
    ice: Array.isArray(ice) ? (ice as RTCIceServer[]) : undefined,
    group: group as Group | undefined,
    next: Array.isArray(next)
      ? next.flatMap((m) => parseManifest({ ...(m as object), group }) ?? [])
      : [],
  };
}

const isKey = (key: unknown): key is string =>
  typeof key === "string" && /^[0-9a-f]{32}$/.test(key);
