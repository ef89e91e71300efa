/**
 * The coordinator in virtual time, over WebSockets: swarms, lists of sources in the order of
 * p2pcdn/coordinator/ranking.py (all visitors are equally near here), signalling.
 */
import type { Outgoing } from "../../src/coordinator/messages";
import type { Clock } from "./clock";
import type { Line } from "./lines";

/** The server is that far away, one way. */
const SERVER_S = 0.01;
const SILENCE_S = 5;
const NAMED_HALF_LIFE_S = 5;
const MIDDLING_RATE = 300_000;
const MIDDLING_RTT_S = 0.08;

interface Member {
  readonly id: string;
  readonly socket: Socket;
  readonly since: number;
  seen: number;
  held: Set<number>;
  segments: number;
  upload: boolean;
  busy: number;
  named: number;
  namedAt: number;
  /** What its links' other ends measured: round trip (s), rate (bytes/s). */
  readonly measured: Map<string, readonly [number | null, number | null]>;
  index: number;
}

type Heard = Outgoing & { payload?: Record<string, unknown>; dst?: string };

export class Hub {
  /** Messages from and to clients, heartbeats included. */
  messages = 0;
  readonly byType = new Map<string, number>();
  readonly reports: unknown[] = [];
  private readonly sockets = new Map<string, Socket>();
  private readonly members = new Map<string, Member>();
  private readonly swarm: Member[] = [];

  constructor(
    private readonly clock: Clock,
    private readonly random: () => number,
  ) {}

  /** A WebSocket constructor bound to one visitor's line. */
  of(line: Line): typeof WebSocket {
    const { clock } = this;
    const enter = (socket: Socket): void => {
      this.sockets.set(socket.id, socket);
      this.tell(socket, { type: "OPEN" });
    };
    const hear = (socket: Socket, text: string): void => {
      this.hear(socket, JSON.parse(text) as Heard);
    };
    const leave = (socket: Socket): void => {
      this.sockets.delete(socket.id);
      this.forget(socket.id);
    };
    return class extends Socket {
      constructor(url: string | URL) {
        super(clock, line, new URL(url).searchParams.get("id") ?? "", { enter, hear, leave });
      }
    } as unknown as typeof WebSocket;
  }

  private tell(socket: Socket, message: object): void {
    this.messages++;
    socket.take(JSON.stringify(message));
  }

  private hear(socket: Socket, message: Heard): void {
    this.messages++;
    const { type, payload, dst } = message;
    this.byType.set(type, (this.byType.get(type) ?? 0) + 1);
    const member = this.members.get(socket.id);
    if (member) member.seen = this.clock.now;
    if (type === "ANNOUNCE") this.announce(socket, message.payload as never);
    else if (type === "SOURCES") {
      const { rid, content, limit, want } = message.payload as never;
      const peers = this.sources(socket.id, limit, want).map((id) => ({ id }));
      this.tell(socket, { type, payload: { rid, content, peers } });
    } else if (type === "WITHDRAW") this.forget(socket.id);
    else if (type === "REPORT") this.reports.push(payload);
    else if (dst) {
      const other = this.sockets.get(dst);
      if (other) this.tell(other, { type, src: socket.id, payload });
    }
  }

  private announce(
    socket: Socket,
    {
      segments,
      have,
      lost = [],
      info,
    }: {
      segments: number;
      have: [number, number][];
      lost?: [number, number][];
      info: { upload: boolean; busy: number; links: [string, number | null, number | null][] };
    },
  ): void {
    const { now } = this.clock;
    let member = this.members.get(socket.id);
    if (!member) {
      member = {
        id: socket.id,
        socket,
        since: now,
        seen: now,
        held: new Set(),
        segments,
        upload: true,
        busy: 0,
        named: 0,
        namedAt: 0,
        measured: new Map(),
        index: this.swarm.length,
      };
      this.members.set(socket.id, member);
      this.swarm.push(member);
    }
    for (const [first, count] of have)
      for (let s = first; s < first + count; s++) member.held.add(s);
    for (const [first, count] of lost)
      for (let s = first; s < first + count; s++) member.held.delete(s);
    member.upload = info.upload;
    member.busy = info.busy;
    for (const [id, ms, kib] of info.links)
      this.members
        .get(id)
        ?.measured.set(socket.id, [
          ms === null ? null : ms / 1000,
          kib === null ? null : kib * 1024,
        ]);
  }

  private forget(id: string): void {
    const member = this.members.get(id);
    if (!member) return;
    this.members.delete(id);
    const last = this.swarm.pop();
    if (last && last !== member) {
      this.swarm[member.index] = last;
      last.index = member.index;
    }
  }

  /** The best of a sample, as `Contents.sources` and `DefaultRanker` choose them. */
  private sources(asker: string, limit: number, want: [number, number][]): string[] {
    const { now } = this.clock;
    const looked = Math.min(96, Math.max(32, 4 * limit));
    const sample = new Set<Member>();
    if (this.swarm.length <= looked) for (const member of this.swarm) sample.add(member);
    else
      while (sample.size < looked) {
        const member = this.swarm[Math.floor(this.random() * this.swarm.length)];
        if (member) sample.add(member);
      }
    const wanted = want.flatMap(([first, count]) =>
      Array.from({ length: count }, (_, i) => first + i),
    );
    const scored: [number, Member][] = [];
    for (const m of sample) {
      if (m.id === asker || !m.upload || now - m.seen >= SILENCE_S) continue;
      const rate = median([...m.measured.values()].map(([, r]) => r));
      const rtt = median([...m.measured.values()].map(([r]) => r));
      const score =
        (2 * wanted.filter((s) => m.held.has(s)).length) / wanted.length +
        0.3 * Math.min(1, (now - m.since) / 60) +
        0.8 * (rate === null ? 0.5 : rate / (rate + MIDDLING_RATE)) +
        0.5 * (rtt === null ? 0.5 : MIDDLING_RTT_S / (rtt + MIDDLING_RTT_S)) -
        0.8 * m.busy -
        0.1 * this.named(m);
      scored.push([score + 0.5 * this.random(), m]);
    }
    scored.sort(([a], [b]) => b - a);
    return scored.slice(0, limit).map(([, m]) => {
      m.named = this.named(m) + 1;
      m.namedAt = now;
      return m.id;
    });
  }

  private named(m: Member): number {
    return m.named * 0.5 ** ((this.clock.now - m.namedAt) / NAMED_HALF_LIFE_S);
  }
}

function median(values: (number | null)[]): number | null {
  const known = values.filter((v): v is number => v !== null).sort((a, b) => a - b);
  return known[known.length >> 1] ?? null;
}

interface Server {
  enter(socket: Socket): void;
  hear(socket: Socket, text: string): void;
  leave(socket: Socket): void;
}

class Socket {
  readyState = 0;
  onopen: unknown = null;
  onclose: (() => void) | null = null;
  onerror: unknown = null;
  onmessage: ((event: { data: string }) => void) | null = null;

  constructor(
    private readonly clock: Clock,
    private readonly line: Line,
    readonly id: string,
    private readonly server: Server,
  ) {
    // TCP, the upgrade, and OPEN: three ways there and back, the last one counted by `take`.
    clock.in(5 * this.way, () => {
      if (this.readyState === 0) {
        this.readyState = 1;
        server.enter(this);
      }
    });
  }

  private get way(): number {
    return SERVER_S + this.line.latency;
  }

  send(text: string): void {
    if (this.line.dead) return;
    this.clock.in(this.way, () => {
      this.server.hear(this, text);
    });
  }

  take(text: string): void {
    this.clock.in(this.way, () => {
      if (this.readyState === 1 && !this.line.dead) this.onmessage?.({ data: text });
    });
  }

  close(): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    // Of one that vanished the server hears nothing: its silence tells.
    this.clock.in(this.line.dead ? 60 : this.way, () => {
      this.server.leave(this);
    });
  }
}
