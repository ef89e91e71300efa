/** The least coordinator that serves a mailbox: for tests of the loader alone. */

interface Body {
  id: string;
  token: string;
  messages: { type: string; dst?: string; payload?: { content?: string; rid?: number } }[];
  leave?: boolean;
}

export class Mailboxes {
  readonly reports: unknown[] = [];
  /** Posts that were answered. */
  posts = 0;
  /** Why announcements are refused, and how many were. */
  refuses: string | undefined;
  refused = 0;
  private readonly queues = new Map<string, unknown[]>();
  private readonly swarms = new Map<string, Set<string>>();

  constructor(private readonly waitS: number) {}

  post(body: Body): { messages: unknown[]; wait: number } {
    this.posts++;
    const answer: unknown[] = [];
    let queue = this.queues.get(body.id);
    if (!queue) {
      this.queues.set(body.id, (queue = []));
      answer.push({ type: "OPEN" });
    }
    for (const { type, dst, payload } of body.messages) {
      const { content = "", rid } = payload ?? {};
      const peers = this.swarms.get(content) ?? new Set<string>();
      if (type === "ANNOUNCE" && this.refuses) {
        this.refused++;
        answer.push({ type: "REFUSED", payload: { content, reason: this.refuses } });
      } else if (type === "ANNOUNCE") this.swarms.set(content, peers.add(body.id));
      else if (type === "WITHDRAW") peers.delete(body.id);
      else if (type === "REPORT") this.reports.push(payload);
      else if (type === "SOURCES") {
        const list = [...peers].filter((id) => id !== body.id).map((id) => ({ id }));
        answer.push({ type: "SOURCES", payload: { rid, content, peers: list.slice(-12) } });
      } else if (dst) this.queues.get(dst)?.push({ type, src: body.id, payload });
    }
    if (body.leave) {
      this.queues.delete(body.id);
      for (const peers of this.swarms.values()) peers.delete(body.id);
    }
    return { messages: [...answer, ...queue.splice(0)], wait: this.waitS };
  }

  /** How many contents a visitor has announced and not withdrawn. */
  joined(id: string): number {
    return [...this.swarms.values()].filter((peers) => peers.has(id)).length;
  }
}
