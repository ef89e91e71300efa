/** Opens contents, finds peers for them, keeps the clockwork going. */
import type { LoaderConfig } from "../config";
import { Client } from "../coordinator/client";
import { signal, sources, type Incoming } from "../coordinator/messages";
import type { Content, Engine, EngineStats } from "../engine";
import { sleep } from "../within";
import { runsOf } from "./bits";
import { SwarmContent, type Env } from "./content";
import { Links } from "./links";
import { askManifest, type Answer, type Manifest } from "./manifest";
import { Store, type Disk } from "./store";
import { Uploader } from "./uploader";
import { PEERS, type Run } from "./wire";

/** What the browser gives; tests and simulations bring their own. */
export interface EngineDeps {
  readonly fetch: typeof globalThis.fetch;
  readonly WebSocket: typeof globalThis.WebSocket | undefined;
  readonly RTCPeerConnection: typeof globalThis.RTCPeerConnection | undefined;
  readonly subtle: Pick<SubtleCrypto, "digest">;
  readonly sendBeacon: ((url: string, body: string) => boolean) | undefined;
  /** Seconds, never going back. */
  now(): number;
  /** [0, 1) */
  random(): number;
  /** The Network Information API's answer, where there is one. */
  connection(): Connection | undefined;
  readonly mobile: boolean;
  /** Instead of a random one. */
  readonly id?: string;
  /** URLs of contents that are stored in this browser. */
  readonly stored?: string;
  /** Opens the store's persistent part. */
  readonly disk?: OpenDisk;
}

type OpenDisk = (host: DiskHost) => Promise<Disk | undefined>;

/** What the store's persistent part (src/stored/) works with. */
export interface DiskHost {
  readonly config: LoaderConfig;
  readonly base: URL;
  readonly me: string;
  readonly store: Store;
  readonly links: Links;
  readonly byKey: ReadonlyMap<string, SwarmContent>;
  /** Whether this visitor uploads. */
  mayUpload(): boolean;
  /** Opens an absolute URL; it may fail. `hides`: see `Shared`. */
  open(url: string, hides: SwarmContent["hides"]): Promise<Content | null>;
  /** Playlists that name a URL, where they are not those of this page. */
  readonly named: Map<string, readonly string[]>;
  forget(content: SwarmContent): void;
  /** What another tab fetches has changed. */
  pokeAll(): void;
}

interface Connection {
  readonly saveData?: boolean;
  readonly type?: string;
  readonly effectiveType?: string;
}

interface Network {
  readonly connection?: Connection;
  readonly userAgentData?: { readonly mobile: boolean };
}

function browser(): EngineDeps {
  const nav = navigator as Navigator & Network;
  return {
    fetch: (input, init) => fetch(input, init),
    WebSocket: globalThis.WebSocket,
    RTCPeerConnection: globalThis.RTCPeerConnection,
    subtle: crypto.subtle,
    sendBeacon: (url, body) => nav.sendBeacon(url, body),
    now: () => performance.now() / 1000,
    random: () => Math.random(),
    connection: () => nav.connection,
    async disk(host) {
      const script = new URL(`stored.js?v=${host.config.version}`, host.base).href;
      return ((await import(script)) as { openDisk: OpenDisk }).openDisk(host);
    },
    mobile: nav.userAgentData?.mobile ?? nav.userAgent.includes("Mobi"),
  };
}

const TICK_MS = 150;
const CERTIFICATE: EcKeyGenParams = { name: "ECDSA", namedCurve: "P-256" };
/** Links that we ask for; as many again are accepted, or newcomers would find everybody taken. */
const LINKS = 8;
const LINKS_MOBILE = 4;
/** Ids in an answer to SOURCES, and in a PEERS message. */
const LISTED = 12;
const EXCHANGED = 8;
const EXCHANGE_S = 20;
const ANNOUNCE_S = 3;
/** Most runs in one ANNOUNCE: those of a content of 1,024 segments at worst. */
const MAX_RUNS = 512;
/** SOURCES is asked again after these times while peers are few. */
const ASK_AGAIN_S = [2, 4, 8, 15, 30];
const ENOUGH_PEERS = 3;
/** How long a start waits for a coordinator, for a link, for a JOIN before it counts as alone. */
const ANSWER_S = 1.5;
const JOIN_S = 1;
const SHUN_LIAR_S = 600;
const RENEW_S = 60;
/** Links that an ANNOUNCE tells of. */
const MEASURED = 8;
/** Segments of presentations that are kept open, and manifests of those to come. */
const OPEN = 400;
const KEPT = 64;
/** About three segments: as long what is known of a live stream's URL is believed. */
const LIVE_MS = 30_000;
/** Films and presentations that are kept open: the coordinator takes 32 of one visitor. */
const SWARMS = 24;
/** When the persistent part is loaded where nothing is stored, and how long a start waits for it. */
const DISK_MS = 3000;
const FIND_MS = 400;
/** A change of upload load that is worth an ANNOUNCE of its own. */
const BUSIER = 0.25;

interface Search {
  asked: number;
  askedAt: number;
  answered: boolean;
  /** Ids that were named at all. */
  named: number;
  renewAt: number;
}

export function createEngine(
  config: LoaderConfig,
  base: URL,
  given: Partial<EngineDeps> = {},
): Engine {
  const deps: EngineDeps = {
    ...(given.fetch && given.subtle ? {} : browser()),
    ...given,
  } as EngineDeps;
  const now = (): number => deps.now();
  const me = deps.id ?? randomId();
  const byUrl = new Map<string, SwarmContent>();
  const byKey = new Map<string, SwarmContent>();
  const asking = new Map<string, Promise<Content | null>>();
  /** URLs without a manifest, and until when that is believed. */
  const refused = new Map<string, number>();
  /** Manifests that came ahead of their segments, by URL. */
  const kept = new Map<string, Manifest>();
  const named = new Map<string, readonly string[]>();
  /** What was wanted here last comes last. */
  const searches = new Map<SwarmContent, Search>();
  const exchanged = new Map<string, number>();
  const store = new Store(config.memoryLimit);
  const uploader = new Uploader(config.uploadLimit, now);
  let playlists: readonly string[] = [];
  let number = 0;
  let announcedAt = 0;
  /** How busy the coordinator believes us: 1 where no link can be had either. */
  let told = 0;
  /** The shortest time, in seconds, in which the site has given a manifest. */
  let answeredIn = Infinity;
  let closed = false;
  let client: Client | undefined;

  const connection = (): Connection => deps.connection() ?? {};

  const rtc: RTCConfiguration = {
    iceServers: [...config.ice],
    iceTransportPolicy: config.relayOnly ? "relay" : "all",
  };
  // One for all links: to make one is a third of what a connection costs (in Chromium).
  const { RTCPeerConnection } = deps;
  if (RTCPeerConnection && "generateCertificate" in RTCPeerConnection)
    void RTCPeerConnection.generateCertificate(CERTIFICATE).then(
      (certificate) => (rtc.certificates = [certificate]),
      Boolean,
    );
  const mayUpload = (): boolean => {
    const { saveData, type } = connection();
    return !saveData && type !== "cellular" && config.uploadLimit !== 0;
  };
  /** What the coordinator was told of that. */
  let gave = mayUpload();
  const links = new Links(
    me,
    rtc,
    deps.mobile ? LINKS_MOBILE : LINKS,
    {
      now,
      contents: byKey,
      mayUpload,
      uploadCap: () => uploader.cap,
      inTime: (bytes) => uploader.inTime(bytes),
      serve: () => {
        uploader.pump();
      },
      signal: (message) => client?.send(message),
      heardOf: (namer, key, ids) => {
        const content = byKey.get(key);
        if (content && !gives(content) && content.held.count < content.held.size)
          links.hearsay(namer, ids.slice(0, EXCHANGED));
      },
      opened: (link) => {
        uploader.outlets.add(link);
        pokeAll();
      },
      closed: (link) => {
        uploader.outlets.delete(link);
      },
    },
    deps,
  );

  const env: Env = {
    me,
    store,
    fetch: deps.fetch,
    subtle: deps.subtle,
    now,
    random: () => deps.random(),
    links: () => links.open(),
    expecting: (content) => {
      const swarm = content.group ?? content;
      const search = searches.get(swarm);
      if (!search || !deps.RTCPeerConnection) return false;
      if (!search.answered && client?.hopeful && now() - swarm.openedAt < ANSWER_S) return true;
      if (links.connecting) return true;
      for (const link of links.open())
        if (!link.remotes.size && now() - link.openedAt < JOIN_S) return true;
      return false;
    },
    loneCause: (content) => {
      if (!deps.RTCPeerConnection) return "no-webrtc";
      if (client?.transport === "none") return "no-coordinator";
      return searches.get(content.group ?? content)?.named ? "no-link" : "no-peer";
    },
    saveData: () => connection().saveData === true,
    blame: (content, ids) => {
      const bad = [...ids];
      client?.send({ type: "REPORT", payload: { content: (content.group ?? content).key, bad } });
      for (const id of bad) links.drop(id, SHUN_LIAR_S);
    },
    stale: (content) => {
      forget(content);
    },
  };

  /** Nobody here watches it: it is only passed on. */
  const gives = (content: SwarmContent): unknown =>
    content.hides ?? (content.idle && content.held.count);

  function pokeAll(): void {
    for (const content of byKey.values()) content.poke();
  }

  /** The content keeps serving its readers; who opens the URL now gets a new one. */
  function forget(content: SwarmContent): void {
    for (const [url, c] of byUrl) if (c === content) byUrl.delete(url);
    if (byKey.get(content.key) === content) byKey.delete(content.key);
    if (searches.delete(content))
      client?.send({ type: "WITHDRAW", payload: { content: content.key } });
  }

  // --- the coordinator ----------------------------------------------------------------------

  function connect(): void {
    if (client || !deps.RTCPeerConnection) return;
    const coordinator = new URL(config.coordinator, base);
    if (!coordinator.pathname.endsWith("/")) coordinator.pathname += "/";
    const { key, version, socket } = config;
    client = new Client(
      { base: coordinator, id: me, token: randomId(), key, version, socket },
      deps,
      {
        opened: () => {
          for (const content of searches.keys()) {
            announce(content, content.held.runs(), []);
            ask(content);
          }
        },
        heard,
      },
    );
  }

  function heard({ type, src, payload }: Incoming): void {
    if (type === "SOURCES") {
      const { rid, ids } = sources(payload);
      for (const [content, search] of searches) {
        if (rid !== content.number) continue;
        search.answered = true;
        search.named = ids.length;
        links.offer(ids);
        content.poke();
      }
    } else if (type === "REFUSED") {
      const { content: key, reason } = (payload ?? {}) as { content?: unknown; reason?: unknown };
      // A new token helps an old one, not one content too many.
      for (const [content, search] of searches)
        if (content.key === key && reason !== "limit")
          search.renewAt = Math.min(search.renewAt, now() + 5);
    } else if (typeof src === "string") {
      const from = signal(payload);
      if (from) links.heard(type, src, from);
    }
  }

  function announce(content: SwarmContent, have: Run[], lost: Run[]): void {
    content.gained.clear();
    content.lost.clear();
    const { type = "unknown", effectiveType = "4g" } = connection();
    client?.send({
      type: "ANNOUNCE",
      payload: {
        content: content.key,
        token: content.token,
        segments: content.held.size,
        have: content.group ? [[0, 1]] : have.slice(0, MAX_RUNS),
        ...(lost.length && { lost: lost.slice(0, MAX_RUNS) }),
        info: {
          upload: mayUpload(),
          busy: told,
          network: effectiveType === "4g" ? type : "slow",
          links: [...links.open()]
            .slice(-MEASURED)
            .map(({ id, rtt, rate, received }) => [
              id,
              rtt === null ? null : Math.round(rtt * 1000),
              received ? Math.round(rate / 1024) : null,
            ]),
        },
      },
    });
  }

  function ask(content: SwarmContent): void {
    const search = searches.get(content);
    if (!search || gives(content)) return;
    search.asked++;
    search.askedAt = now();
    const { number: rid, key, token, want } = content;
    client?.send({ type: "SOURCES", payload: { rid, content: key, token, limit: LISTED, want } });
  }

  // --- time ---------------------------------------------------------------------------------

  function tick(): void {
    const t = now();
    links.tick();
    for (const [content, search] of searches) {
      const complete = content.held.count === content.held.size;
      const wait = ASK_AGAIN_S[Math.min(search.asked, ASK_AGAIN_S.length) - 1] ?? 0;
      const due = !complete && links.free > 0 && t - search.askedAt > wait;
      const there = client?.transport !== "none";
      if (due && there && content.stats().peers < ENOUGH_PEERS) ask(content);
      if (t > search.renewAt) void renew(content, search);
    }
    if (t - announcedAt > ANNOUNCE_S) {
      announcedAt = t;
      const busy = links.full ? 1 : uploader.busy;
      const changed = Math.abs(busy - told) > BUSIER || gave !== mayUpload();
      gave = mayUpload();
      told = Math.round(busy * 100) / 100;
      for (const content of searches.keys()) {
        const { gained, lost } = content;
        if (changed || gained.size + lost.size) announce(content, runsOf(gained), runsOf(lost));
        exchange(content, t);
      }
    }
    for (const content of byKey.values()) {
      if (!content.idle) use(content);
      content.tick();
    }
  }

  /** Tells peers of each other, so that the coordinator is asked rarely. */
  function exchange(content: SwarmContent, t: number): void {
    const joined = [...links.open()].filter((link) => link.remote(content.key));
    if (joined.length < 2) return;
    for (const link of joined) {
      const about = `${link.id} ${content.key}`;
      if (t - (exchanged.get(about) ?? -EXCHANGE_S) < EXCHANGE_S) continue;
      exchanged.set(about, t);
      const ids = joined.map((l) => l.id).filter((id) => id !== link.id);
      link.say({ type: PEERS, c: content.number, ids: ids.slice(-EXCHANGED) });
    }
    if (exchanged.size > 1024) exchanged.clear();
  }

  function renewal(expires: number): number {
    const left = expires - Date.now() / 1000;
    return now() + Math.max(5, Math.min(left - RENEW_S, left * 0.8));
  }

  async function manifest(url: string): Promise<Answer> {
    const fetch: typeof deps.fetch = (...asked) =>
      closed ? Promise.reject(new Error("closed")) : deps.fetch(...asked);
    const since = now();
    const answer = await askManifest(fetch, base, url, me, named.get(url) ?? playlists);
    if (typeof answer !== "number") {
      answeredIn = Math.min(answeredIn, now() - since);
      // Links that are made from now on use the fresh credentials.
      if (answer.ice) rtc.iceServers = answer.ice;
      for (const next of answer.next) {
        const { href } = new URL(next.url, base);
        kept.set(href, next);
        outdate(kept, href, next);
      }
      for (const oldest of kept.keys()) if (kept.size > KEPT) kept.delete(oldest);
    }
    return answer;
  }

  /** An encoder that begins again uses its names again, for other bytes. */
  function outdate(known: Map<string, unknown>, url: string, { group }: Manifest): void {
    if (group?.live) void sleep(LIVE_MS).then(() => known.delete(url));
  }

  async function renew(content: SwarmContent, search: Search): Promise<void> {
    search.renewAt = Infinity;
    const found = await manifest(content.url);
    if (closed || !searches.has(content)) return;
    const answer = typeof found !== "number" && content.group ? (found.group ?? 0) : found;
    if (typeof answer === "number") search.renewAt = now() + Math.max(answer, 15);
    else if (answer.key !== content.key) content.changed();
    else {
      ({ token: content.token, expires: content.expires } = answer);
      search.renewAt = renewal(answer.expires);
      announce(content, content.held.runs(), []);
    }
  }

  // --- the page's side ----------------------------------------------------------------------

  function enter(url: string, found: Manifest, hides?: SwarmContent["hides"]): SwarmContent {
    // Two bytes on the wire: a stream's segments go round them in a day or two.
    do number = (number + 1) % 65536;
    while ([...byKey.values()].some((c) => c.number === number));
    const content = new SwarmContent(url, number, found, env);
    // Until its own first request tells more.
    content.origin.latency = Math.min(content.origin.latency, answeredIn);
    content.hides = hides;
    byKey.set(found.key, content);
    for (const link of links.open()) link.join(content);
    return content;
  }

  function use(content: SwarmContent): void {
    const swarm = content.group ?? content;
    const search = searches.get(swarm);
    if (search && searches.delete(swarm)) searches.set(swarm, search);
  }

  function shut(content: SwarmContent): void {
    content.close();
    forget(content);
  }

  /** Closes what nobody here has wanted for longest, a presentation as a whole. */
  function makeRoom(): void {
    for (const swarm of searches.keys()) {
      if (searches.size < SWARMS) return;
      const all = [...byKey.values()].filter((c) => (c.group ?? c) === swarm);
      if (all.every((c) => c.idle)) all.forEach(shut);
    }
  }

  function seek(content: SwarmContent): void {
    makeRoom();
    const renewAt = renewal(content.expires);
    searches.set(content, { asked: 0, askedAt: 0, answered: false, named: 0, renewAt });
    // Before the coordinator has opened, `opened` will do this.
    if (client && client.transport !== "none") {
      announce(content, content.held.runs(), []);
      ask(content);
    }
  }

  /** It is watched here, now. */
  function show(content: SwarmContent | undefined): void {
    if (!content?.hides) return;
    content.hides = undefined;
    for (const link of links.open()) link.join(content);
  }

  /** The group of a segment, as a content of which nobody reads anything. */
  function grouped(
    url: string,
    { group, ...of }: Manifest,
    hides: SwarmContent["hides"],
  ): SwarmContent | undefined {
    if (!group) return;
    let content = byKey.get(group.key);
    if (!content) {
      const alone = { ...of, ...group, group, size: 1, hashes: new Uint8Array(32) };
      content = enter(url, alone, hides);
      content.group = content;
      seek(content);
    }
    if (!hides) show(content);
    content.url = url;
    return content;
  }

  async function open(url: string, hides?: SwarmContent["hides"]): Promise<Content | null> {
    const read = playlists;
    const answer = kept.get(url) ?? (await manifest(url));
    if (closed) return null;
    if (typeof answer === "number") {
      refused.set(url, now() + answer);
      return null;
    }
    let content = byKey.get(answer.key);
    if (content) {
      // The same bytes under a newly signed URL.
      content.url = url;
      ({ token: content.token, expires: content.expires } = answer);
    } else {
      const fresh = (content = enter(url, answer, hides));
      const found = stored?.then((disk) => disk?.opened(fresh, read));
      // Nothing is asked of others that is here already.
      if (deps.stored?.includes(url)) await Promise.race([found, sleep(FIND_MS)]);
      content.group = grouped(url, answer, hides);
      if (!content.group) seek(content);
      for (const old of byKey.values())
        if (byKey.size > OPEN && old.group && old.group !== old && old.idle && old !== content)
          shut(old);
    }
    byUrl.set(url, content);
    outdate(byUrl, url, answer);
    return content;
  }

  const ticking = setInterval(tick, TICK_MS);
  connect();

  function known(url: string): SwarmContent | undefined {
    const there = byUrl.get(url);
    if (there) use(there);
    return there;
  }

  async function content(url: string, read: readonly string[] = []): Promise<Content | null> {
    const clean = plain(url);
    playlists = read;
    try {
      const there = known(clean);
      show(there);
      show(there?.group);
      if (there || closed) return there ?? null;
      if (now() < (refused.get(clean) ?? -Infinity)) return null;
      let pending = asking.get(clean);
      if (!pending) {
        pending = open(clean).finally(() => asking.delete(clean));
        asking.set(clean, pending);
      }
      return await pending;
    } catch {
      return null;
    }
  }

  const stored =
    config.diskLimit || deps.stored
      ? sleep(deps.stored ? 0 : DISK_MS)
          .then(() =>
            deps.disk?.({
              config,
              base,
              me,
              store,
              links,
              byKey,
              mayUpload,
              open,
              forget,
              named,
              pokeAll,
            }),
          )
          .then((disk) => {
            store.disk = disk;
            if (closed) disk?.close();
            return disk;
          })
          .catch(() => undefined)
      : undefined;

  return {
    content,
    known: (url) => known(plain(url)) ?? null,
    begun: (url, bytes, at, took) => {
      void content(url, playlists).then((c) => (c as SwarmContent | null)?.begun(bytes, at, took));
    },
    stats(): EngineStats {
      return {
        id: me,
        transport: client?.transport ?? "none",
        peers: links.stats(),
        contents: [...byKey.values()].filter((c) => c.group !== c).map((c) => c.stats()),
      };
    },
    report(payload) {
      if (client?.transport === "none") return false;
      client?.send({ type: "REPORT", payload });
      return !!client;
    },
    close() {
      if (closed) return;
      closed = true;
      clearInterval(ticking);
      store.disk?.close();
      for (const content of byKey.values()) content.close();
      links.close();
      uploader.stop();
      client?.close();
    },
  };
}

const plain = (url: string): string => url.replace(/#.*/s, "");

/** 128 random bits: who guesses an id and its token could take them over. */
const randomId = (): string => crypto.getRandomValues(new Uint32Array(4)).join("-");
