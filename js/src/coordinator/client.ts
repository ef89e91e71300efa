/**
 * The connection to the coordinator: a WebSocket where one can be had, else the POST mailbox.
 *
 * Nothing here ever throws into the page. Without a coordinator messages are dropped, and all
 * that is lost is that no new peers are found.
 */
import { incoming, type Incoming, type Outgoing } from "./messages";

export interface ClientDeps {
  readonly fetch: typeof globalThis.fetch;
  readonly WebSocket: typeof globalThis.WebSocket | undefined;
  readonly sendBeacon: ((url: string, body: string) => boolean) | undefined;
  random(): number;
}

export interface ClientOptions {
  /** The coordinator's base, ending in "/". */
  readonly base: URL;
  readonly id: string;
  /** This client's own secret: who knows it may take the id over. */
  readonly token: string;
  readonly key: string;
  readonly version: string;
  readonly socket: boolean;
}

export interface Listener {
  /** The coordinator knows us, and nothing else of us: announce everything. */
  opened(): void;
  heard(message: Incoming): void;
}

const HEARTBEAT_MS = 2000;
/** A WebSocket that is not open by then is taken for blocked by something in between. */
const OPEN_MS = 2500;
const BACKOFF_MS = 500;
const LONGEST_MS = 30_000;
/** Messages that wait for a connection. */
const MAX_WAITING = 256;
/** Messages of one moment leave in one POST. */
const GATHER_MS = 10;

export class Client {
  transport: "websocket" | "mailbox" | "none" = "none";
  private socket: WebSocket | undefined;
  private useSocket: boolean;
  /** The WebSocket has worked before: its loss is no reason for the mailbox. */
  private socketWorks = false;
  private waiting: Outgoing[] = [];
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private dueAt = Infinity;
  private posting = false;
  private readonly heartbeat: ReturnType<typeof setInterval>;
  private closed = false;

  constructor(
    private readonly options: ClientOptions,
    private readonly deps: ClientDeps,
    private readonly listener: Listener,
  ) {
    this.useSocket = options.socket && deps.WebSocket !== undefined;
    this.heartbeat = setInterval(() => {
      if (this.transport === "websocket") this.transmit({ type: "HEARTBEAT" });
    }, HEARTBEAT_MS);
    this.connect();
  }

  /** Whether it may still answer soon. */
  get hopeful(): boolean {
    return !this.closed && this.failures === 0;
  }

  send(message: Outgoing): void {
    if (this.closed) return;
    if (this.transport === "websocket" && this.transmit(message)) return;
    if (this.waiting.length < MAX_WAITING) this.waiting.push(message);
    if (!this.useSocket && !this.failures) this.postIn(GATHER_MS);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    clearInterval(this.heartbeat);
    clearTimeout(this.timer);
    this.socket?.close();
    // A socket's end says it by itself; a mailbox has to be told, even by a page that goes away.
    if (this.transport === "mailbox") {
      try {
        const body = this.body([], false, true);
        if (!this.deps.sendBeacon?.(this.mailbox, body))
          this.post(body, true).catch(() => undefined);
      } catch {
        // It will be missed after a while.
      }
    }
    this.transport = "none";
  }

  // --- WebSocket ----------------------------------------------------------------------------

  private connect(): void {
    const { WebSocket } = this.deps;
    if (!this.useSocket || !WebSocket) {
      this.postIn(0);
      return;
    }
    const { base, key, id, token, version } = this.options;
    const url = new URL("peerjs", base);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams({ key, id, token, version }).toString();
    let socket: WebSocket;
    try {
      socket = new WebSocket(url);
    } catch {
      // Forbidden here, by a policy of the page perhaps.
      this.useSocket = false;
      this.lost();
      return;
    }
    this.socket = socket;
    let settled = false;
    const end = (): void => {
      if (settled) return;
      settled = true;
      clearTimeout(late);
      socket.onmessage = null;
      socket.close();
      this.transport = "none";
      if (!this.socketWorks) this.useSocket = false;
      this.lost();
    };
    const late = setTimeout(end, OPEN_MS);
    socket.onclose = socket.onerror = end;
    socket.onmessage = ({ data }): void => {
      const message = incoming(data);
      if (message?.type === "OPEN") {
        clearTimeout(late);
        this.transport = "websocket";
        this.socketWorks = true;
        this.failures = 0;
        const waiting = this.waiting.splice(0);
        this.tell(message);
        for (const m of waiting) this.send(m);
      } else if (message?.type === "ERROR" || message?.type === "ID-TAKEN") end();
      else if (message) this.tell(message);
    };
  }

  private transmit(message: Outgoing): boolean {
    try {
      if (this.socket?.readyState !== 1) return false;
      this.socket.send(JSON.stringify(message));
      return true;
    } catch {
      return false;
    }
  }

  private lost(): void {
    if (this.closed) return;
    // From the WebSocket to the mailbox at once; after that with patience.
    const first = !this.useSocket && this.options.socket && this.failures === 0 && !this.posted;
    const wait = Math.min(LONGEST_MS, BACKOFF_MS * 2 ** this.failures);
    if (!first) this.failures++;
    clearTimeout(this.timer);
    this.dueAt = Infinity;
    const delay = first ? 0 : wait * (0.5 + this.deps.random());
    this.timer = setTimeout(() => {
      this.connect();
    }, delay);
  }

  // --- mailbox ------------------------------------------------------------------------------

  private posted = false;

  private get mailbox(): string {
    return new URL("mailbox", this.options.base).href;
  }

  /** What the present request carries, until it is answered; `serial` is its number. */
  private batch: readonly Outgoing[] | undefined;
  private serial = 0;

  private body(messages: readonly Outgoing[], again: boolean, leave?: boolean): string {
    const { id, token, key } = this.options;
    return JSON.stringify({ id, token, key, messages, serial: this.serial, again, leave });
  }

  private postIn(ms: number): void {
    const due = Date.now() + ms;
    if (this.posting || due >= this.dueAt) return;
    this.dueAt = due;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.exchange(), ms);
  }

  private async exchange(): Promise<void> {
    this.dueAt = Infinity;
    this.posting = true;
    // Without an answer the very same request is sent again: it may have arrived.
    const again = !!this.batch;
    if (!again) this.serial++;
    this.batch ??= this.waiting.splice(0);
    let wait: number;
    try {
      const answer = await this.post(this.body(this.batch, again), false);
      this.posting = false;
      this.batch = undefined;
      if (this.closed) return;
      this.posted = true;
      this.transport = "mailbox";
      this.failures = 0;
      wait = typeof answer.wait === "number" ? answer.wait : 1;
      for (const text of Array.isArray(answer.messages) ? (answer.messages as unknown[]) : []) {
        const message = incoming(text);
        if (message) this.tell(message);
      }
      this.postIn(this.waiting.length ? GATHER_MS : Math.max(50, Math.min(wait, 10) * 1000));
    } catch {
      this.posting = false;
      this.transport = "none";
      this.lost();
    }
  }

  private async post(
    body: string,
    keepalive: boolean,
  ): Promise<{ messages?: unknown; wait?: unknown }> {
    const response = await this.deps.fetch(this.mailbox, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body,
      keepalive,
      cache: "no-store",
      signal: AbortSignal.timeout(10_000),
    });
    if (!response.ok) throw new Error("the mailbox does not answer");
    return (await response.json()) as { messages?: unknown; wait?: unknown };
  }

  private tell(message: Incoming): void {
    if (message.type === "OPEN" || message.type === "REANNOUNCE") this.listener.opened();
    else this.listener.heard(message);
  }
}
