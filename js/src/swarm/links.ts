/** Connections to peers: made over the coordinator's signalling, kept few, good and clean. */
import type { PeerStats } from "../engine";
import type { Outgoing, Signal } from "../coordinator/messages";
import { Link, type Host } from "./link";
import { HIGH_WATER } from "./uploader";
import { isPeerId } from "./wire";

export interface LinksDeps {
  readonly RTCPeerConnection: typeof globalThis.RTCPeerConnection | undefined;
  now(): number;
  random(): number;
}

export interface LinksHost extends Omit<Host, "ended"> {
  signal(message: Outgoing): void;
  opened(link: Link): void;
  closed(link: Link): void;
}

interface Entry {
  readonly id: string;
  readonly connectionId: string;
  readonly pc: RTCPeerConnection;
  readonly offered: boolean;
  /** The peer that named it, where the coordinator did not. */
  readonly namer: string | undefined;
  readonly since: number;
  /** What it says of others is not heard before. */
  deafUntil: number;
  link: Link | undefined;
  /** Candidates that came before the description. */
  early: RTCIceCandidateInit[] | null;
  lostAt: number;
}

/** A connection that is not open by then will not be. */
const CONNECT_S = 12;
/** ICE may find another path. */
const LOST_S = 5;
/** A link that serves no content of ours nor of theirs. */
const IDLE_S = 30;
/** One that in that time neither gave nor took, and has nothing that is wanted here. */
const USELESS_S = 60;
/** One that has no place may have one later. */
const FULL_S = 10;
const MAX_REMEMBERED = 512;
const MAX_KNOWN = 24;
/** The part of the places for ids that peers named, and may have made up, until bytes come. */
const HEARSAY = 1 / 3;
/** A peer is heard that often; one whose ids led to nobody, not for longer. */
const NAMES_S = 15;
const DEAF_S = 120;

export class Links {
  private readonly entries = new Map<string, Entry>();
  /** Ids that the coordinator named last. */
  private known: string[] = [];
  /** Peers not to be connected to before a time. */
  private readonly shunned = new Map<string, number>();

  constructor(
    private readonly me: string,
    private readonly rtc: RTCConfiguration,
    /** Links that we ask for; as many again are accepted. */
    private readonly most: number,
    private readonly host: LinksHost,
    private readonly deps: LinksDeps,
  ) {}

  *open(): Generator<Link> {
    for (const { link } of this.entries.values()) if (link) yield link;
  }

  get(id: string): Link | undefined {
    return this.entries.get(id)?.link;
  }

  /** Young connections in the making, to peers that the coordinator knows. */
  get connecting(): number {
    let n = 0;
    for (const { link, namer, since } of this.entries.values())
      if (!link && !namer && this.deps.now() - since < 3) n++;
    return n;
  }

  get free(): number {
    return this.most - this.entries.size;
  }

  /** Whether a newcomer would find no place. */
  get full(): boolean {
    return this.free <= -this.most;
  }

  stats(): PeerStats[] {
    return [...this.entries.values()].map(({ id, link }) => ({
      id,
      state: link ? "open" : "connecting",
      rttMs: link?.rtt == null ? null : Math.round(link.rtt * 1000),
      received: link?.received ?? 0,
      sent: link?.sent ?? 0,
    }));
  }

  /** Connects to some of these peers, best first, as far as there is room; then to earlier ones. */
  offer(ids: readonly string[]): void {
    this.known = [...new Set([...ids, ...this.known])].slice(0, MAX_KNOWN);
    for (const id of this.known) void this.call(id);
  }

  /** A peer names others: tried now or never, after what the coordinator named. */
  hearsay(namer: string, ids: readonly string[]): void {
    const from = this.entries.get(namer);
    const now = this.deps.now();
    if (!from || now < from.deafUntil) return;
    from.deafUntil = now + NAMES_S;
    this.offer([]);
    for (const id of ids) {
      const unproved = [...this.entries.values()].filter((e) => e.namer && !e.link?.received);
      if (unproved.length < HEARSAY * this.most) void this.call(id, namer);
    }
  }

  /** A message of another loader, over the coordinator. */
  heard(type: string, src: string, signal: Signal): void {
    void this.answer(type, src, signal).catch(() => {
      this.drop(src, 5);
    });
  }

  /** Ends the connection and keeps away from the peer for a while. */
  drop(id: string, shunS: number): void {
    const entry = this.entries.get(id);
    if (shunS > 0) {
      this.shunned.delete(id);
      this.shunned.set(id, this.deps.now() + shunS);
      for (const oldest of this.shunned.keys())
        if (this.shunned.size > MAX_REMEMBERED) this.shunned.delete(oldest);
    }
    if (!entry) return;
    this.entries.delete(id);
    entry.link?.end(false);
    try {
      entry.pc.close();
    } catch {
      // It was closed already.
    }
  }

  tick(): void {
    const now = this.deps.now();
    for (const { id, link, namer = "", since, lostAt } of [...this.entries.values()]) {
      link?.tick();
      const common = link && [...link.remotes.values()].some((r) => this.host.contents.has(r.key));
      if (!link && now - since > CONNECT_S) {
        this.drop(id, 60);
        const from = this.entries.get(namer);
        if (from) from.deafUntil = now + DEAF_S;
      } else if (now - lostAt > LOST_S) this.drop(id, 15);
      else if (link && !common && now - link.openedAt > IDLE_S) this.drop(id, 30);
    }
    for (const [id, until] of this.shunned) if (until < now) this.shunned.delete(id);
    this.replace(now);
  }

  /** Where all places are taken and others are known: one that is of no use makes way. */
  private replace(now: number): void {
    if (this.free > 0 || !this.known.some((id) => this.callable(id))) return;
    for (const link of this.open()) {
      if (now - link.usedAt < USELESS_S || !this.useless(link)) continue;
      this.drop(link.id, USELESS_S);
      this.offer([]);
      return;
    }
  }

  private useless({ remotes, uploads, refuses }: Link): boolean {
    let wanting = false;
    for (const { key, has } of remotes.values()) {
      const held = this.host.contents.get(key)?.held;
      if (!held || held.count === held.size) continue;
      wanting = true;
      if (uploads && !refuses && has.beyond(held)) return false;
    }
    return wanting;
  }

  close(): void {
    for (const id of [...this.entries.keys()]) this.drop(id, 0);
  }

  private shuns(id: string): boolean {
    return (this.shunned.get(id) ?? 0) > this.deps.now();
  }

  private callable(id: string): boolean {
    return id !== this.me && !this.entries.has(id) && isPeerId(id) && !this.shuns(id);
  }

  private async call(id: string, namer?: string): Promise<void> {
    if (this.free <= 0 || !this.callable(id)) return;
    const entry = this.enter(id, this.connectionId(), true, namer);
    if (!entry) return;
    try {
      const { pc } = entry;
      await pc.setLocalDescription(await pc.createOffer());
      this.describe(entry, "OFFER");
    } catch {
      if (this.entries.get(id) === entry) this.drop(id, 60);
    }
  }

  private async answer(type: string, src: string, signal: Signal): Promise<void> {
    const { connectionId, sdp, candidate } = signal;
    let entry = this.entries.get(src);
    if (type === "OFFER" && sdp) {
      if (this.shuns(src) || !isPeerId(src) || src === this.me) return;
      // When two offers cross, the one of the smaller id stands.
      if (entry?.offered && !entry.link && this.me < src) return;
      if (!entry && this.full && !this.makeRoom()) {
        // An answer without a description: the other one need not wait.
        this.host.signal({ type: "ANSWER", dst: src, payload: { p2pcdn: 1, connectionId } });
        return;
      }
      this.drop(src, 0);
      entry = this.enter(src, connectionId, false);
      if (!entry) return;
      const { pc } = entry;
      await pc.setRemoteDescription(sdp);
      await this.flush(entry);
      await pc.setLocalDescription(await pc.createAnswer());
      this.describe(entry, "ANSWER");
    } else if (entry?.connectionId === connectionId) {
      if (type === "ANSWER" && entry.offered) {
        if (sdp) {
          await entry.pc.setRemoteDescription(sdp);
          await this.flush(entry);
        } else {
          this.drop(src, FULL_S);
          this.offer([]);
        }
      } else if (type === "CANDIDATE" && candidate) {
        if (!entry.early) await entry.pc.addIceCandidate(candidate).catch(() => undefined);
        else if (entry.early.length < 64) entry.early.push(candidate);
      }
    }
  }

  private async flush(entry: Entry): Promise<void> {
    const early = entry.early ?? [];
    entry.early = null;
    for (const c of early) await entry.pc.addIceCandidate(c).catch(() => undefined);
  }

  private describe({ id, connectionId, pc }: Entry, type: "OFFER" | "ANSWER"): void {
    const description = pc.localDescription;
    if (!description) return;
    const sdp = { type: description.type, sdp: description.sdp };
    this.host.signal({ type, dst: id, payload: { p2pcdn: 1, connectionId, sdp } });
  }

  /** Where all places are taken: ends the link that gives and takes the least. */
  private makeRoom(): boolean {
    const now = this.deps.now();
    let worst: Link | undefined;
    for (const link of this.open()) {
      if (now - link.openedAt < IDLE_S || link.queued || link.orders.length) continue;
      if (!worst || link.received + link.sent < worst.received + worst.sent) worst = link;
    }
    if (worst) this.drop(worst.id, IDLE_S);
    return worst !== undefined;
  }

  private connectionId(): string {
    return Math.floor(this.deps.random() * 2 ** 52).toString(36);
  }

  private enter(
    id: string,
    connectionId: string,
    offered: boolean,
    namer?: string,
  ): Entry | undefined {
    const { RTCPeerConnection } = this.deps;
    if (!RTCPeerConnection) return undefined;
    const pc = new RTCPeerConnection(this.rtc);
    const since = this.deps.now();
    const entry: Entry = {
      id,
      connectionId,
      pc,
      offered,
      namer,
      since,
      deafUntil: 0,
      link: undefined,
      early: [],
      lostAt: Infinity,
    };
    this.entries.set(id, entry);
    const current = (): boolean => this.entries.get(id) === entry;
    pc.onicecandidate = ({ candidate }): void => {
      if (candidate?.candidate && current()) {
        const payload: Signal = { p2pcdn: 1, connectionId, candidate: candidate.toJSON() };
        this.host.signal({ type: "CANDIDATE", dst: id, payload });
      }
    };
    pc.onconnectionstatechange = (): void => {
      if (!current()) return;
      const { connectionState } = pc;
      if (connectionState === "failed" || connectionState === "closed") this.drop(id, 20);
      else entry.lostAt = connectionState === "disconnected" ? this.deps.now() : Infinity;
    };
    const channel = pc.createDataChannel("p2pcdn", { negotiated: true, id: 0 });
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = HIGH_WATER / 2;
    channel.onbufferedamountlow = (): void => {
      this.host.serve();
    };
    channel.onopen = (): void => {
      if (!current() || entry.link) return;
      entry.link = new Link(id, channel, {
        ...this.host,
        ended: (_link, hostile) => {
          this.host.closed(_link);
          if (current()) this.drop(id, hostile ? 120 : 5);
        },
      });
      this.host.opened(entry.link);
    };
    channel.onmessage = ({ data }): void => entry.link?.hear(data);
    channel.onclose = (): void => {
      if (current()) this.drop(id, 2);
    };
    return entry;
  }
}
