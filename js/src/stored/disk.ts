/**
 * The persistent part of the store: what is verified is written down in the background, and read
 * (and verified again) when a player or a peer wants it.
 *
 * Nothing here is needed for a video to play. Whatever fails (a full disk, a private window, a
 * browser's fault) costs what was stored, and no more.
 */
import { STORED_KEY } from "../engine";
import { OPT_OUT_KEY } from "../loader/possible";
import { runsOf } from "../swarm/bits";
import type { SwarmContent } from "../swarm/content";
import type { DiskHost } from "../swarm/engine";
import type { PeerView } from "../swarm/scheduler";
import type { Disk, Shelf } from "../swarm/store";
import { Hashes } from "../swarm/verify";
import type { Run } from "../swarm/wire";
import { within } from "../within";
import type { Exclusive, Files } from "./files";
import type { Ledger, Named } from "./ledger";
import { Seeder } from "./seeder";
import { Tabs, type Channel } from "./tabs";
import { nameOf, Writer, type Piece } from "./writer";

/** What the browser gives; tests bring their own. */
export interface Parts {
  readonly files: Files;
  readonly exclusive: Exclusive;
  readonly channel: Channel | undefined;
  readonly storage: Pick<Storage, "getItem" | "setItem" | "removeItem"> | undefined;
  readonly subtle: Pick<SubtleCrypto, "digest">;
  estimate(): Promise<StorageEstimate>;
  /** Milliseconds since 1970. */
  date(): number;
  /** Seconds, never going back. */
  now(): number;
  /** URLs that the page keeps from being shared. */
  off(): ReadonlySet<string>;
}

interface Open {
  readonly content: SwarmContent;
  readonly hashes: Hashes;
  /** On the disk, as far as this tab knows. */
  readonly stored: Set<number>;
  /** Of these: what this page has neither fetched nor played. */
  readonly given: Set<number>;
  /** Not to be written by this page (again). */
  readonly done: Set<number>;
  readonly jobs: Map<number, Job>;
  readonly playlists: readonly string[];
}

interface Job {
  readonly open: Open;
  readonly segment: number;
  readonly then: (() => void)[];
  /** A player waits, not only a peer. */
  player: boolean;
}

const TICK_MS = 100;
const DAY_MS = 86_400_000;
/** How long segments wait to be written together; less while another tab waits for them. */
const GATHER_S = 1;
const GATHER_SHARED_S = 0.1;
/** What is written in one go. */
const BATCH_BYTES = 16 * 1024 * 1024;
/** Segments read at a time, and how far ahead of a reader. */
const READERS = 4;
const AHEAD_BYTES = 1024 * 1024;
/** A segment that has not been read by then is fetched like any other. */
const READ_MS = 1500;
const MAX_LATE = 3;
/** How exactly it is known when a content was last watched. */
const USED_MS = 60_000;
/** Passing on begins when the page's own video has begun. */
const SEED_S = 4;

export class StoredDisk implements Disk {
  private readonly opens = new Map<Shelf, Open>();
  private readonly queue: Job[] = [];
  private readonly used = new Set<string>();
  private readonly writer: Writer;
  private readonly others: Tabs | undefined;
  private readonly seeder: Seeder;
  private readonly ticking: ReturnType<typeof setInterval>;
  private readonly openedAt: number;
  private flushedAt: number;
  private broken: Named = new Map();
  /** What is too old goes at once, whether anything is written or not. */
  private due = true;
  private flushing = false;
  private reading = 0;
  private late = 0;
  private ahead = false;
  private dead = false;

  constructor(
    private readonly host: DiskHost,
    private readonly parts: Parts,
    private ledger: Ledger,
  ) {
    const { config, me } = host;
    const { files, exclusive, channel } = parts;
    const now = (): number => parts.now();
    this.openedAt = this.flushedAt = now();
    this.writer = new Writer(files, exclusive, {
      limit: config.diskLimit,
      maxAge: config.diskDays * DAY_MS,
      estimate: () => parts.estimate(),
      date: () => parts.date(),
    });
    this.others =
      channel &&
      new Tabs(channel, me, config.version, {
        stored: (segments) => {
          this.foreign(segments);
        },
        gone: (segments) => {
          this.gone(segments);
        },
        changed: () => {
          host.pokeAll();
        },
        now,
      });
    this.seeder = new Seeder(host, {
      recent: () => this.ledger.recent(),
      elsewhere: (what) => this.others?.shares(what) ?? false,
      outdated: (key) => {
        this.broken.set(key, [...(this.ledger.contents.get(key)?.segments ?? [])]);
      },
      off: () => parts.off(),
      now,
    });
    this.ticking = setInterval(() => {
      this.tick();
    }, TICK_MS);
  }

  // --- the engine's side --------------------------------------------------------------------

  opened(content: SwarmContent, playlists: readonly string[]): void {
    if (this.dead || this.opens.has(content)) return;
    const { key, size, segmentBytes, manifest } = content;
    const open: Open = {
      content,
      hashes: new Hashes(manifest.hashes, this.parts.subtle),
      stored: new Set(),
      given: new Set(),
      done: new Set(),
      jobs: new Map(),
      playlists: manifest.group ? playlists : [],
    };
    this.opens.set(content, open);
    const kept = this.ledger.contents.get(key);
    if (kept?.size !== size || kept.segmentBytes !== segmentBytes) return;
    for (const segment of kept.segments) this.found(open, segment);
    content.landed();
  }

  has(shelf: Shelf, segment: number): boolean {
    return this.opens.get(shelf)?.stored.has(segment) ?? false;
  }

  load(shelf: Shelf, segment: number, then?: () => void): void {
    const open = this.opens.get(shelf);
    if (!open?.stored.has(segment)) return;
    let job = open.jobs.get(segment);
    if (!job) {
      job = { open, segment, then: [], player: false };
      open.jobs.set(segment, job);
      this.queue.push(job);
    }
    if (then) job.then.push(then);
    else {
      job.player = true;
      this.readAhead(open, segment);
    }
    this.read();
  }

  tabs(shelf: Shelf): PeerView[] {
    const key = this.opens.get(shelf)?.content.key ?? "";
    // A tab that is linked as any other visitor is says more over that link.
    return this.others?.views(key, (id) => !!this.host.links.get(id)?.remote(key)) ?? [];
  }

  close(): void {
    if (this.dead) return;
    this.dead = true;
    clearInterval(this.ticking);
    this.others?.close();
  }

  // --- what is stored -----------------------------------------------------------------------

  private found(open: Open, segment: number): void {
    const { content, stored, given } = open;
    if (stored.has(segment) || segment >= content.held.size) return;
    stored.add(segment);
    if (content.held.has(segment)) return;
    given.add(segment);
    content.hold(segment);
  }

  private lost(open: Open, segment: number): void {
    const { content, stored } = open;
    stored.delete(segment);
    if (content.held.has(segment) && !content.bytes(segment)) content.evicted(segment);
  }

  /** Another tab has stored something. */
  private foreign(segments: Named): void {
    for (const open of this.opens.values()) {
      const there = segments.get(open.content.key);
      for (const segment of there ?? []) this.found(open, segment);
      if (there) open.content.landed();
    }
  }

  /** Segments were taken out, here or by another tab. */
  private gone(segments: Named): void {
    for (const [key, list] of segments) this.ledger.drop(key, list);
    for (const open of this.opens.values()) {
      const list = segments.get(open.content.key);
      for (const segment of list ?? []) this.lost(open, segment);
      if (list) open.content.landed();
    }
  }

  /** Goes on without a disk. */
  private die(): void {
    this.close();
    for (const open of this.opens.values()) {
      for (const segment of [...open.stored]) this.lost(open, segment);
      open.content.landed();
    }
  }

  // --- reading ------------------------------------------------------------------------------

  private readAhead({ content, stored }: Open, segment: number): void {
    if (this.ahead) return;
    this.ahead = true;
    const last = segment + Math.max(1, AHEAD_BYTES / content.segmentBytes);
    // What is not in memory asks for itself.
    for (let s = segment + 1; s <= last; s++) if (stored.has(s)) content.bytes(s);
    this.ahead = false;
  }

  private read(): void {
    while (this.reading < READERS && this.queue.length) {
      const players = this.queue.findIndex((job) => job.player);
      const [job] = this.queue.splice(Math.max(0, players), 1);
      if (!job) return;
      this.reading++;
      void this.bring(job).finally(() => {
        this.reading--;
        this.read();
      });
    }
  }

  private async bring({ open, segment, then, ...job }: Job): Promise<void> {
    const { content, given, hashes, jobs } = open;
    const { key } = content;
    const read = this.parts.files.read(nameOf(key, segment)).catch(() => null);
    const bytes = await within(
      read.then((found) => found ?? "nothing"),
      READ_MS,
    );
    const fits = bytes instanceof Uint8Array && (await hashes.fits(segment, bytes));
    jobs.delete(segment);
    if (this.dead || this.host.byKey.get(key) !== content) {
      for (const again of then) again();
      return;
    }
    this.late = bytes ? 0 : this.late + 1;
    if (fits) {
      this.host.store.put(content, segment, bytes);
      if (job.player && given.delete(segment)) content.fromCache += bytes.length;
    } else {
      // What is wrong or missing is taken out; what only takes too long may be there next time.
      if (bytes) this.broken.set(key, [...(this.broken.get(key) ?? []), segment]);
      this.lost(open, segment);
    }
    for (const again of then) again();
    content.landed();
    if (this.late >= MAX_LATE) this.die();
  }

  // --- time ---------------------------------------------------------------------------------

  private tick(): void {
    const { parts, host, others } = this;
    const now = parts.now();
    const inHand = new Map<string, Run[]>();
    let shared = false;
    for (const [shelf, open] of this.opens) {
      const { content } = open;
      const { key, idle, held } = content;
      if (host.byKey.get(key) !== content) {
        this.opens.delete(shelf);
        continue;
      }
      if (!idle) this.used.add(key);
      const runs = [...content.claims(), ...runsOf(this.waiting(open))];
      if (runs.length || (!idle && held.count < held.size)) inHand.set(key, runs);
      shared ||= others?.fetches(key) ?? false;
    }
    others?.here(inHand, this.seeder.serving.keys());
    if (!this.flushing && now - this.flushedAt > (shared ? GATHER_SHARED_S : GATHER_S)) {
      this.flushing = true;
      void this.flush()
        .catch(() => 0)
        .finally(() => {
          this.flushing = false;
          this.flushedAt = parts.now();
        });
    }
    if (now - this.openedAt > SEED_S) this.seeder.tick();
  }

  // --- writing ------------------------------------------------------------------------------

  /** Verified, and not written yet. */
  private waiting({ content, stored, done }: Open): number[] {
    const { held, manifest, direct, origin } = content;
    const list: number[] = [];
    if (held.count === stored.size || this.writer.full) return list;
    // What is live nobody comes back to; what the site wants nowhere is nowhere.
    if (direct || origin.noStore || manifest.group?.live) return list;
    for (let s = 0; s < held.size; s++)
      if (held.has(s) && !stored.has(s) && !done.has(s)) list.push(s);
    return list;
  }

  private async flush(): Promise<void> {
    const { parts, opens, writer } = this;
    const { files, storage } = parts;
    if (storage?.getItem(OPT_OUT_KEY) === "off") {
      this.die();
      storage.removeItem(STORED_KEY);
      await files.wipe(true);
      return;
    }
    const pieces: Piece[] = [];
    let size = 0;
    for (const open of opens.values()) {
      const { content, playlists } = open;
      const { key, url, segmentBytes } = content;
      const about = { url, size: content.size, segmentBytes, playlists };
      for (const segment of this.waiting(open)) {
        const bytes = size < BATCH_BYTES && content.bytes(segment);
        if (!bytes) continue;
        pieces.push({ key, about, segment, bytes });
        size += bytes.length;
      }
    }
    const date = parts.date();
    const old = [...this.used].some(
      (key) => date - (this.ledger.contents.get(key)?.used ?? date) > USED_MS,
    );
    if (!pieces.length && !old && !this.broken.size && !this.due) return;
    const { used, broken } = this;
    this.broken = new Map();
    const outcome = await writer.write(pieces, used, broken);
    if (this.dead) return;
    if (!outcome) {
      for (const [key, list] of broken) this.broken.set(key, list);
      return;
    }
    this.due = false;
    used.clear();
    const { ledger, stored, gone, refused } = outcome;
    this.ledger = ledger;
    for (const open of opens.values()) {
      const { key } = open.content;
      for (const segment of stored.get(key) ?? []) open.stored.add(segment);
      // To write again what had to go would only push out the next.
      for (const list of [refused.get(key), gone.get(key)])
        for (const segment of list ?? [])
          if (!broken.get(key)?.includes(segment)) open.done.add(segment);
    }
    this.gone(gone);
    this.others?.stored(stored);
    this.others?.gone(gone);
    storage?.setItem(STORED_KEY, ledger.hint());
  }
}
