/**
 * The seam between the page side (loader/) and the swarm side (swarm/, coordinator/).
 *
 * The loader knows elements, the worker and byte ranges; the engine knows manifests, peers and
 * segments. Nothing else crosses.
 */

/**
 * The fragment on the engine's own requests to the origin. It never leaves the browser; a worker
 * that intercepts by URL pattern lets a request with it pass.
 */
export const ORIGIN_MARK = "#p2pcdn";

/** The localStorage key with the URLs of which the beginning is stored, line by line. */
export const STORED_KEY = "p2pcdn-stored";

/** The name of the Cache that segments are stored in. */
export const CACHE = "p2pcdn";

/** The part of an HTMLMediaElement that the scheduler reads deadlines from. */
export interface Playback {
  readonly currentTime: number;
  readonly duration: number;
  readonly playbackRate: number;
  readonly paused: boolean;
  readonly autoplay?: boolean;
  readonly seeking: boolean;
  readonly ended: boolean;
  readonly readyState: number;
  readonly buffered: TimeRanges;
  readonly played?: TimeRanges;
}

export interface ContentStats {
  readonly url: string;
  readonly key: string;
  readonly size: number;
  readonly segments: number;
  readonly held: number;
  readonly peers: number;
  /** Verified bytes. */
  readonly fromPeers: number;
  readonly fromOrigin: number;
  readonly fromCache: number;
  readonly uploaded: number;
  readonly rejected: number;
  readonly stalls: number;
  /** Why bytes came from the origin, by cause, e.g. {urgent: 3, "no-peer": 20}. */
  readonly causes: Readonly<Record<string, number>>;
}

export interface Content {
  readonly url: string;
  readonly key: string;
  readonly size: number;
  readonly type: string;
  /**
   * The bytes [start, end), in order, in pieces of any size. Never rejects for a peer's sake:
   * rejects only when the origin itself fails too, or `signal` is aborted.
   */
  read(start: number, end: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** A player of this content; its clock gives the deadlines. Returns the detach function. */
  attach(playback: Playback): () => void;
  stats(): ContentStats;
}

export interface Engine {
  /**
   * The content behind a media URL (absolute), or null where it must play direct. Never rejects.
   *
   * @param playlists - Path and query of the playlists that may name it.
   */
  content(url: string, playlists?: readonly string[]): Promise<Content | null>;
  /** What is known without asking: a content already opened. */
  known(url: string): Content | null;
  /**
   * Bytes of a video from `at` on, which its player had from the origin before we were here, or
   * before we knew its content: kept until we do.
   *
   * @param took - Seconds from the question to the last byte, where that is known.
   */
  begun?(url: string, bytes: Uint8Array, at: number, took?: number): void;
  stats(): EngineStats;
  /** Send a report with what goes to the coordinator anyway; true: it will. */
  report?(report: object): boolean | undefined;
  close(): void;
}

export interface EngineStats {
  readonly id: string;
  readonly transport: "websocket" | "mailbox" | "none";
  readonly peers: readonly PeerStats[];
  readonly contents: readonly ContentStats[];
}

export interface PeerStats {
  readonly id: string;
  readonly state: "connecting" | "open" | "closed";
  readonly rttMs: number | null;
  readonly received: number;
  readonly sent: number;
}
