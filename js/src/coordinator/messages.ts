/** What loader and coordinator say to each other. Python twin: p2pcdn/coordinator/messages.py. */
import type { Run } from "../swarm/wire";

export interface Announce {
  readonly content: string;
  readonly token: string;
  readonly segments: number;
  /** New since the last one. */
  readonly have: readonly Run[];
  /** No longer held. */
  readonly lost?: readonly Run[];
  readonly info?: {
    readonly upload: boolean;
    /** How much of the upload is in use, 0 to 1. */
    readonly busy?: number;
    /** The kind of network: the browser's word (what is none of ours counts as unknown), or "slow". */
    readonly network?: string;
    /** Peers, each with its round trip in ms and the KiB per second that it delivers. */
    readonly links?: readonly (readonly [string, number | null, number | null])[];
  };
}

export interface Wanted {
  readonly rid: number;
  readonly content: string;
  readonly token: string;
  readonly limit: number;
  /** What is needed next: sources are ranked by how much of it they hold. */
  readonly want: readonly Run[];
}

/** OFFER, ANSWER and CANDIDATE between two loaders; an ANSWER without `sdp` says that no place is free. */
export interface Signal {
  readonly p2pcdn: 1;
  readonly connectionId: string;
  readonly sdp?: RTCSessionDescriptionInit;
  readonly candidate?: RTCIceCandidateInit;
}

export type Outgoing =
  | { readonly type: "ANNOUNCE"; readonly payload: Announce }
  | { readonly type: "WITHDRAW"; readonly payload: { readonly content: string } }
  | { readonly type: "SOURCES"; readonly payload: Wanted }
  | {
      readonly type: "OFFER" | "ANSWER" | "CANDIDATE";
      readonly dst: string;
      readonly payload: Signal;
    }
  /** Counters (report.ts), or that a peer sent wrong bytes: `{content, bad: [id, ...]}`. */
  | { readonly type: "REPORT"; readonly payload: object }
  | { readonly type: "HEARTBEAT" };

/** Checked no further than this: every field is for its reader to doubt. */
export interface Incoming {
  readonly type: string;
  readonly src?: unknown;
  readonly payload?: unknown;
}

/** A message from text or JSON; null for what is none. */
export function incoming(data: unknown): Incoming | null {
  try {
    const value: unknown = typeof data === "string" ? JSON.parse(data) : data;
    if (typeof value !== "object" || value === null) return null;
    return typeof (value as Incoming).type === "string" ? (value as Incoming) : null;
  } catch {
    return null;
  }
}

/** A Signal from another loader; null for PeerJS's own and for nonsense. */
export function signal(payload: unknown): Signal | null {
  const s = payload as Partial<Signal> | null | undefined;
  return s?.p2pcdn === 1 && typeof s.connectionId === "string" ? (s as Signal) : null;
}

/** The answer to SOURCES: a request id and ids of peers, best first. */
export function sources(payload: unknown): { rid: unknown; ids: string[] } {
  const p = payload as { rid?: unknown; peers?: unknown } | null | undefined;
  const ids = ((Array.isArray(p?.peers) ? p.peers : []) as ({ id?: unknown } | null)[])
    .map((peer) => peer?.id)
    .filter((id): id is string => typeof id === "string");
  return { rid: p?.rid, ids };
}
