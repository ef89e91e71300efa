/* eslint-disable @typescript-eslint/no-non-null-assertion -- a test that fails there fails rightly */
/** As much of RTCPeerConnection and RTCDataChannel as the links use, in virtual time. */
import type { Clock } from "./clock";
import { arrive, leave, reach, type Line } from "./lines";

/** Headers of SCTP, DTLS, UDP and IP. */
const HEADERS = 60;
/** ICE asks for consent every few seconds; without it a browser says "disconnected" (RFC 7675). */
const CONSENT_S = 5;

class Channel {
  readyState = "connecting";
  bufferedAmountLowThreshold = 0;
  binaryType = "";
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  onbufferedamountlow: (() => void) | null = null;
  other: Channel | undefined;
  /** What has not left yet: when it will have, and its size. */
  private readonly leaving: [number, number][] = [];
  private waiting = 0;
  private watched = false;

  constructor(
    private readonly clock: Clock,
    private readonly line: Line,
    private readonly count: () => void,
  ) {}

  get bufferedAmount(): number {
    const { leaving, clock } = this;
    let gone = 0;
    for (; gone < leaving.length && leaving[gone]![0] <= clock.now; gone++)
      this.waiting -= leaving[gone]![1];
    if (gone) leaving.splice(0, gone);
    return this.waiting;
  }

  open(other: Channel): void {
    this.other = other;
    this.readyState = "open";
    this.onopen?.();
  }

  send(data: ArrayBuffer): void {
    const { other, clock, line } = this;
    if (!other) throw new Error("not open");
    if (line.dead) return;
    this.count();
    const size = data.byteLength + HEADERS;
    const left = leave(clock, line, size);
    this.leaving.push([left, size]);
    this.waiting += size;
    if (this.bufferedAmount > this.bufferedAmountLowThreshold) this.watch();
    clock.at(left + line.latency + other.line.latency, () => {
      if (line.dead) return;
      arrive(clock, other.line, size, () => {
        if (other.readyState === "open" && !other.line.dead) other.onmessage?.({ data });
      });
    });
  }

  close(): void {
    if (this.readyState === "closed") return;
    this.readyState = "closed";
    this.onclose?.();
  }

  /** Says so when what waits has fallen to the threshold. */
  private watch(): void {
    if (this.watched) return;
    this.watched = true;
    let rest = this.bufferedAmount;
    const low = this.leaving.find(([, size]) => (rest -= size) <= this.bufferedAmountLowThreshold);
    this.clock.at(low?.[0] ?? this.clock.now, () => {
      this.watched = false;
      if (this.bufferedAmount > this.bufferedAmountLowThreshold) this.watch();
      else if (this.readyState === "open") this.onbufferedamountlow?.();
    });
  }
}

/** All connections of a world. */
export class Connections {
  /** Messages that were sent over data channels. */
  messages = 0;
  opened = 0;
  /** Pairs that no path was found for. */
  failed = 0;
  private count = 0;
  private readonly all = new Map<string, Connection>();
  private readonly owned = new Map<Line, Set<Connection>>();

  constructor(private readonly clock: Clock) {}

  /** An RTCPeerConnection constructor bound to one visitor's line. */
  of(line: Line): typeof RTCPeerConnection {
    const { clock, all, owned } = this;
    const mine = new Set<Connection>();
    owned.set(line, mine);
    const place: Place = {
      clock,
      find: (name) => all.get(name),
      enter: (connection) => {
        const name = String(++this.count);
        all.set(name, connection);
        mine.add(connection);
        return name;
      },
      leave: (connection) => {
        all.delete(connection.name);
        mine.delete(connection);
      },
      sent: () => {
        this.messages++;
      },
      tried: (fine) => {
        if (fine) this.opened++;
        else this.failed++;
      },
    };
    return class extends Connection {
      constructor() {
        super(line, place);
      }
    } as unknown as typeof RTCPeerConnection;
  }

  /** A visitor is gone without a word; the others notice when nothing answers any more. */
  cut(line: Line): void {
    line.dead = true;
    const lost = [...(this.owned.get(line) ?? [])].map((connection) => connection.peer);
    this.clock.in(CONSENT_S, () => {
      for (const peer of lost) peer?.disconnected();
    });
  }
}

interface Place {
  readonly clock: Clock;
  readonly find: (name: string) => Connection | undefined;
  readonly enter: (connection: Connection) => string;
  readonly leave: (connection: Connection) => void;
  readonly sent: () => void;
  readonly tried: (fine: boolean) => void;
}

class Connection {
  readonly name: string;
  localDescription: RTCSessionDescriptionInit | null = null;
  connectionState = "new";
  onicecandidate: ((event: { candidate: object | null }) => void) | null = null;
  onconnectionstatechange: (() => void) | null = null;
  channel: Channel | undefined;
  peer: Connection | undefined;

  constructor(
    readonly line: Line,
    private readonly place: Place,
  ) {
    this.name = place.enter(this);
  }

  createDataChannel(): Channel {
    const { clock, sent } = this.place;
    return (this.channel = new Channel(clock, this.line, sent));
  }

  createOffer(): Promise<RTCSessionDescriptionInit> {
    return Promise.resolve({ type: "offer", sdp: this.name });
  }

  createAnswer(): Promise<RTCSessionDescriptionInit> {
    return Promise.resolve({ type: "answer", sdp: this.name });
  }

  setLocalDescription(description: RTCSessionDescriptionInit): Promise<void> {
    this.localDescription = description;
    // Its own address, and the one that a STUN server sees.
    for (const typ of ["host", "srflx"]) {
      const candidate = { candidate: `${this.name} ${typ}` };
      const event = { candidate: { ...candidate, toJSON: () => candidate } };
      this.place.clock.in(typ === "host" ? 0.002 : 2 * this.line.latency, () =>
        this.onicecandidate?.(event),
      );
    }
    return Promise.resolve();
  }

  setRemoteDescription({ type, sdp }: RTCSessionDescriptionInit): Promise<void> {
    const { clock, find, tried } = this.place;
    const other = find(sdp ?? "");
    this.peer = other;
    if (type === "answer" && other) {
      const fine = reach(this.line, other.line);
      tried(fine);
      if (!fine) return Promise.resolve();
      // ICE, DTLS, SCTP: some round trips.
      clock.in(6 * (this.line.latency + other.line.latency), () => {
        if (this.connectionState === "closed" || other.connectionState === "closed") return;
        if (this.line.dead || other.line.dead) return;
        this.channel!.open(other.channel!);
        other.channel!.open(this.channel!);
      });
    }
    return Promise.resolve();
  }

  addIceCandidate(): Promise<void> {
    return Promise.resolve();
  }

  disconnected(): void {
    if (this.connectionState === "closed") return;
    this.connectionState = "disconnected";
    this.onconnectionstatechange?.();
  }

  close(): void {
    if (this.connectionState === "closed") return;
    this.connectionState = "closed";
    this.place.leave(this);
    this.channel?.close();
    const { peer, line } = this;
    if (peer && !line.dead)
      this.place.clock.in(line.latency + peer.line.latency, () => peer.channel?.close());
  }
}
