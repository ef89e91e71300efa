/** What the server puts in front of the loader (Python twin: p2pcdn/web/assets.py). */
export interface LoaderConfig {
  readonly version: string;
  /** The coordinator's base, relative to the loader's own URL, e.g. "../peerjs". */
  readonly coordinator: string;
  /** Scope of the worker, relative to the loader's own URL, e.g. "../". */
  readonly scope: string;
  /** PeerServer API key. */
  readonly key: string;
  /** Whether the server thinks that it can hold a WebSocket. */
  readonly socket: boolean;
  readonly ice: readonly RTCIceServer[];
  readonly relayOnly: boolean;
  /** Bytes per second, or null for a fraction of the measured uplink. */
  readonly uploadLimit: number | null;
  readonly memoryLimit: number;
  readonly diskLimit: number;
  /** Days that a content stays on the disk. */
  readonly diskDays: number;
  /** Longest wait for the worker on a first visit, in milliseconds. */
  readonly startupWaitMs: number;
  readonly hud: boolean;
  /** Regular expressions on the URL path: requests other than of <video> that are media too. */
  readonly patterns: readonly string[];
}
