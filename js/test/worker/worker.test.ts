/** The worker's decisions: what it may touch, and what it must leave alone. */
import { describe, expect, it, vi } from "vitest";
import type { Ask, Begun, Note } from "../../src/worker/protocol";
import type { Client, FetchEvent, Scope } from "../../src/worker/scope";
import { run } from "../../src/worker/worker";

const SITE = "http://site.example";

interface Asked {
  method?: string;
  destination?: string;
  mode?: string;
  clientId?: string;
  headers?: Record<string, string>;
}

/** A service worker's global scope around real events, ports and responses. */
function worker({
  script = "/p2pcdn/worker.js",
  patterns = [] as string[],
  active = null as string | null,
  home = "/",
  silent = false,
  ours = { status: 200, type: "text/javascript; charset=utf-8" },
  film = (range: string): Response =>
    new Response(`film ${range}`, { status: 206, headers: { "content-range": "bytes 0-9/99" } }),
} = {}) {
  const listeners: Record<string, ((event: never) => void) | undefined> = {};
  const log: string[] = [];
  const asked: string[] = [];
  const routes: object[] = [];
  const begun: Begun[] = [];
  const client: Client = {
    id: "page",
    postMessage(question, [port]) {
      if (!(port instanceof MessagePort)) {
        begun.push(question as Begun);
        return;
      }
      asked.push((question as Ask).url);
      if (silent) return;
      port.postMessage(0);
      port.postMessage(1);
    },
  };
  const scope = {
    location: new URL(SITE + script),
    registration: {
      scope: SITE + home,
      active: active && { scriptURL: SITE + active },
      waiting: null,
      unregister: () => Promise.resolve(log.push("unregister")),
    },
    clients: {
      get: (id: string) => Promise.resolve(id === "page" ? client : undefined),
      claim: () => Promise.resolve(log.push("claim")),
    },
    skipWaiting: () => Promise.resolve(log.push("skipWaiting")),
    fetch: (request: Request | string, init: RequestInit = {}) => {
      const { Range = "" } = (init.headers ?? {}) as Record<string, string>;
      if (Range) return Promise.resolve(basic(film(Range)));
      log.push(typeof request === "string" ? request : "network");
      const { status, type } = ours;
      const own = typeof request === "string" && { status, headers: { "content-type": type } };
      return Promise.resolve(basic(new Response("from the network", own || {})));
    },
    addEventListener: (type: string, listener: (event: never) => void) => {
      listeners[type] = listener;
    },
  };
  run(scope as unknown as Scope, { version: "v", path: "/p2pcdn/worker.js", patterns });

  const get = (path: string, options: Asked = {}): Promise<Response> | null => {
    const { method = "GET", destination = "video", mode = "no-cors", clientId = "page" } = options;
    const headers = new Headers(options.headers);
    let answer: Promise<Response> | null = null;
    const url = new URL(path, SITE).href;
    const event = {
      request: { url, method, destination, mode, headers, credentials: "include" },
      clientId,
      respondWith: (response: Promise<Response>) => (answer = response),
    };
    listeners.fetch?.(event as unknown as FetchEvent as never);
    return answer;
  };
  const install = async (): Promise<void> => {
    let done: Promise<unknown> | undefined;
    const event = {
      waitUntil: (promise: Promise<unknown>) => (done = promise),
      addRoutes: (rules: object[]) => Promise.resolve(routes.push(...rules)),
    };
    listeners.install?.(event as never);
    await done;
  };
  const say = (data: Note): void => {
    listeners.message?.({ data, source: client, ports: [] } as never);
  };
  return { get, install, listeners, log, asked, routes, begun, say };
}

/** As the network's answers are, which Chromium's player tells from those that a worker makes. */
function basic(response: Response): Response {
  return Object.defineProperty(response, "type", { value: "basic" });
}

const START = { headers: { range: "bytes=0-" } };

describe("the worker", () => {
  it("asks the page for its media, and takes the network where the page does not want it", async () => {
    const { get, asked, log } = worker();
    expect(await (await get("/a.mp4#t=10"))?.text()).toBe("from the network");
    expect(asked).toEqual([`${SITE}/a.mp4`]);
    expect(log).toEqual(["network"]);
  });

  it.each<[string, string, Asked]>([
    ["a page", "/", { destination: "document", mode: "navigate" }],
    ["a script", "/a.js", { destination: "script" }],
    ["an image", "/a.png", { destination: "image" }],
    ["a fetch", "/a.json", { destination: "" }],
    ["what only ends like a segment", "/a.tsv", { destination: "" }],
    ["a question that names one", "/p2pcdn/manifest?url=%2Fa.mp4", { destination: "" }],
    ["a TypeScript module", "/a.ts", { destination: "script" }],
    ["a visit to a segment", "/a.mp4", { destination: "document", mode: "navigate" }],
    ["a fetched playlist", "/a.m3u8?x=1", { destination: "" }],
    ["a playlist that the browser plays itself", "/a.m3u8", {}],
    ["a signed-in segment", "/a.ts", { destination: "", headers: { Authorization: "Bearer x" } }],
    ["a HEAD", "/a.mp4", { method: "HEAD" }],
    ["a POST", "/a.mp4", { method: "POST" }],
    ["another site's video", "https://other.example/a.mp4", {}],
    ["a video that failed through us", "/a.mp4#p2pcdn", {}],
    ["the same with a media fragment", "/a.mp4#t=10&p2pcdn", {}],
    ["a request of no page", "/a.mp4", { clientId: "" }],
  ])("does not touch %s", (_, path, options) => {
    const { get, asked } = worker();
    expect(get(path, options)).toBeNull();
    expect(asked).toEqual([]);
  });

  it("takes the segments that players fetch, wherever they are", () => {
    const { get } = worker();
    for (const path of ["/hls/1.ts", "/v/init.mp4?sig=1", "/a.m4s", "/A.AAC", "/x.mp4#t=1"])
      expect(get(path, { destination: "" })).not.toBeNull();
    expect(get("/hls/1.ts#p2pcdn", { destination: "" })).toBeNull();
  });

  it("hands on no playlist, though a pattern names it", () => {
    const { get } = worker({ patterns: ["^\\/hls\\/.*$"] });
    expect(get("/hls/live.m3u8", { destination: "" })).toBeNull();
    expect(get("/hls/live.mpd?t=1", { destination: "" })).toBeNull();
  });

  it("takes requests by pattern too, but never the engine's own", () => {
    const { get } = worker({ patterns: ["^\\/hls\\/.*$"] });
    expect(get("/hls/1.bin", { destination: "" })).not.toBeNull();
    expect(get("/hls/1.bin#p2pcdn", { destination: "" })).toBeNull();
    expect(get("/other/1.bin", { destination: "" })).toBeNull();
    const below = worker({ patterns: ["^\\/hls\\/.*$"], home: "/site/" });
    expect(below.get("/site/hls/1.bin", { destination: "" })).not.toBeNull();
    expect(get("/site/hls/1.bin", { destination: "" })).toBeNull();
    expect(get("/hls/", { destination: "document", mode: "navigate" })).toBeNull();
  });

  it("of a page that is gone takes the network", async () => {
    const { get } = worker();
    expect(await (await get("/a.mp4", { clientId: "gone" }))?.text()).toBe("from the network");
  });

  it.each([
    ["stays where it is still served", 200, "text/javascript; charset=utf-8", false],
    ["leaves a site that has it no more", 404, "text/html", true],
    ["leaves one that answers everything with its first page", 200, "text/html", true],
    ["stays while the site is in trouble", 502, "text/html", false],
  ])("%s, when a page does not answer", async (_, status, type, leaves) => {
    vi.useFakeTimers();
    try {
      const { get, log } = worker({ ours: { status, type }, silent: true });
      const answer = get("/a.mp4");
      await vi.advanceTimersByTimeAsync(10_000);
      expect(await (await answer)?.text()).toBe("from the network");
      await vi.advanceTimersByTimeAsync(0);
      expect(log.includes("unregister")).toBe(leaves);
    } finally {
      vi.useRealTimers();
    }
  });

  it("takes over at once, and keeps other requests from waking it", async () => {
    const { install, log, routes } = worker();
    await install();
    expect(log).toEqual(["skipWaiting"]);
    expect(routes).toContainEqual({
      condition: { requestDestination: "script" },
      source: "network",
    });
    // Nor has the loader's own errand to wait until it is awake.
    expect(routes).toContainEqual({
      condition: { urlPattern: { pathname: "*/p2pcdn/*" } },
      source: "network",
    });
    expect(JSON.stringify(routes)).not.toContain("video");
  });

  it("answers a page that said hello without asking the browser for it", async () => {
    const { get, listeners, asked } = worker();
    const said: string[] = [];
    const source: Client = {
      id: "no longer listed",
      postMessage(question, [port]) {
        said.push((question as Ask).url);
        (port as MessagePort).postMessage(0);
        (port as MessagePort).postMessage(1);
      },
    };
    listeners.message?.({ data: { p2pcdn: "hello" }, source, ports: [] } as never);
    expect(await (await get("/a.mp4", { clientId: source.id }))?.text()).toBe("from the network");
    expect([said, asked]).toEqual([[`${SITE}/a.mp4`], []]);
  });

  it.each(["", "^/"])("leaves our own requests alone, also where %j is included", (pattern) => {
    const { get } = worker({ patterns: pattern ? [pattern] : [] });
    const fetched = { destination: "", mode: "cors" };
    for (const url of ["/p2pcdn/manifest?url=%2Fa.mp4", "/p2pcdn/ice", "/p2pcdn/report.mp4"])
      expect(get(url, fetched)).toBeNull();
    expect(get("/a.mp4?signed=1", fetched)).not.toBeNull();
  });

  it("takes no request for a segment because of its query", () => {
    const { get } = worker();
    expect(get("/api?file=/a.mp4", { destination: "", mode: "cors" })).toBeNull();
  });

  it("refuses to take the place of a site's own worker", async () => {
    await expect(worker({ active: "/sw.js" }).install()).rejects.toThrow("taken");
    await worker({ active: "/p2pcdn/worker.js" }).install();
  });

  it("imported by a site's own worker changes nothing of that one's life", () => {
    const { listeners } = worker({ script: "/sw.js" });
    expect(listeners.install).toBeUndefined();
    expect(listeners.activate).toBeUndefined();
    expect(listeners.fetch).toBeDefined();
  });

  it("imported by a site's own worker says that it is there", async () => {
    const { listeners } = worker({ script: "/sw.js" });
    const { port1, port2 } = new MessageChannel();
    const heard = new Promise((resolve) => {
      port1.onmessage = ({ data }) => {
        resolve(data);
      };
    });
    listeners.message?.({ data: { p2pcdn: "ping" }, source: null, ports: [port2] } as never);
    expect(await heard).toBe("v");
    port1.close();
  });

  it.each([null, undefined, 5, "x", {}, []])("survives the message %j", (data) => {
    const { listeners } = worker();
    listeners.message?.({ data, source: null, ports: [] } as never);
  });
});

describe("a player whose page has no engine yet", () => {
  const url = `${SITE}/a.mp4`;

  it("gets its beginning from the network, and the page hears of the bytes", async () => {
    const { get, say, asked, begun } = worker();
    say({ p2pcdn: "hello", begin: [url] });
    const answer = await get("/a.mp4#t=1", START);
    expect([answer?.status, answer?.type]).toEqual([206, "default"]);
    expect(await answer?.text()).toBe("film bytes=0-196607");
    await vi.waitFor(() => {
      expect(begun).toHaveLength(1);
    });
    expect(begun[0]?.url).toBe(url);
    expect(new TextDecoder().decode(begun[0]?.bytes)).toBe("film bytes=0-196607");
    expect(asked).toEqual([]);
  });

  /** The beginning of a film as the network brings it: numbered bytes, `bytes` at a time. */
  const arriving = (bytes: number) => (): Response => {
    const all = Uint8Array.from({ length: 196_608 }, (_, at) => at % 251);
    const body = new ReadableStream<Uint8Array>({
      start(stream) {
        for (let at = 0; at < all.length; at += bytes) stream.enqueue(all.slice(at, at + bytes));
        stream.close();
      },
    });
    const headers = { "content-range": "bytes 0-196607/8285706" };
    return new Response(body, { status: 206, headers });
  };

  it.each([196_608, 65_536, 5000, 1400])(
    "gets it, %d bytes at a time, in blocks that Chromium counts: an autoplay waits for five",
    async (bytes) => {
      const { get, say, begun } = worker({ film: arriving(bytes) });
      say({ p2pcdn: "hello", begin: [url] });
      const reader = (await get("/a.mp4", START))?.body?.getReader();
      const given: Uint8Array[] = [];
      const length = (): number => given.reduce((sum, piece) => sum + piece.length, 0);
      vi.useFakeTimers({ toFake: ["setTimeout"] });
      const read = (async () => {
        for (let next; (next = await reader?.read())?.value;) given.push(next.value);
      })();
      for (let block = 1; block <= 6; block++) {
        // Whatever can come without a timer has come.
        for (let turn = 0; turn < 9; turn++) await new Promise((done) => setImmediate(done));
        expect(length()).toBe(block * 32_768);
        await vi.advanceTimersByTimeAsync(4);
      }
      vi.useRealTimers();
      await read;
      expect(Buffer.concat(given).every((byte, at) => byte === at % 251)).toBe(true);
      await vi.waitFor(() => {
        expect(begun[0]?.bytes.byteLength).toBe(196_608);
      });
    },
  );

  it("tells the page how long the network took, without the time that its loader needed", async () => {
    const slow = (): Response => {
      const body = new ReadableStream<Uint8Array>({
        async start(stream) {
          await new Promise((done) => setTimeout(done, 300));
          stream.enqueue(new Uint8Array(10));
          stream.close();
        },
      });
      const headers = { "content-range": "bytes 0-9/99" };
      return new Response(body, { status: 206, headers });
    };
    const { get, say, begun } = worker({ film: slow });
    say({ p2pcdn: "hello", begin: [url], loading: true });
    await (await get("/a.mp4", START))?.arrayBuffer();
    await new Promise((done) => setTimeout(done, 1000));
    expect(begun).toEqual([]);
    say({ p2pcdn: "hello", begin: [url] });
    await vi.waitFor(() => {
      expect(begun).toHaveLength(1);
    });
    expect(begun[0]?.ms).toBeGreaterThan(250);
    expect(begun[0]?.ms).toBeLessThan(900);
  });

  it("may leave in the middle; the page gets what was fetched all the same", async () => {
    const { get, say, begun } = worker({ film: arriving(65_536) });
    say({ p2pcdn: "hello", begin: [url] });
    const reader = (await get("/a.mp4", START))?.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    await vi.waitFor(() => {
      expect(begun[0]?.bytes.byteLength).toBe(196_608);
    });
  });

  it("gets what follows from the page, or from the network in the same kind of answer", async () => {
    const { get, say, asked, log } = worker();
    say({ p2pcdn: "hello", begin: [url] });
    await get("/a.mp4", START);
    const answer = await get("/a.mp4", { headers: { range: "bytes=10-" } });
    expect([asked, log, answer?.type]).toEqual([[url], ["network"], "default"]);
    expect(await answer?.text()).toBe("from the network");
  });

  it.each<[string, Note, Asked]>([
    ["once the engine is there", { p2pcdn: "hello", begin: [] }, START],
    ["where it plays another video", { p2pcdn: "hello", begin: [`${SITE}/b.mp4`] }, START],
    ["in the middle", { p2pcdn: "hello", begin: [url] }, { headers: { range: "bytes=5-" } }],
    ["without a range", { p2pcdn: "hello", begin: [url] }, {}],
  ])("%s asks the page", async (_, hello, request) => {
    const { get, say, asked } = worker();
    say({ p2pcdn: "hello", begin: [url] });
    say(hello);
    const answer = await get("/a.mp4", request);
    expect([asked, answer?.type]).toEqual([[url], "basic"]);
  });

  it.each([
    ["ignores ranges", () => new Response("all of it")],
    ["fails", () => new Response("", { status: 500 })],
    [
      "sends all of it as a part",
      () =>
        new Response("x", { status: 206, headers: { "content-range": "bytes 0-8285705/8285706" } }),
    ],
    [
      "does not know the size",
      () => new Response("x", { status: 206, headers: { "content-range": "bytes 0-196607/*" } }),
    ],
    [
      "sends another part",
      () => new Response("x", { status: 206, headers: { "content-range": "bytes 5-9/99" } }),
    ],
  ])("asks the page where the origin %s", async (_, film) => {
    const { get, say, asked, begun } = worker({ film });
    say({ p2pcdn: "hello", begin: [url] });
    expect(await (await get("/a.mp4", START))?.text()).toBe("from the network");
    expect([asked, begun]).toEqual([[url], []]);
  });

  it("need not wait for the loader either, where the page itself says so", async () => {
    const { get, say, asked, begun } = worker();
    say({ p2pcdn: "hello", begin: [url], loading: true });
    const answer = await get("/a.mp4", START);
    expect(await answer?.text()).toBe("film bytes=0-196607");
    // What follows waits for the loader: what is said to it before it listens is lost.
    const rest = get("/a.mp4", { headers: { range: "bytes=10-" } });
    await new Promise((done) => setTimeout(done, 120));
    expect([asked, begun]).toEqual([[], []]);
    say({ p2pcdn: "hello" });
    expect(await (await rest)?.text()).toBe("from the network");
    expect(asked).toEqual([url]);
    await vi.waitFor(() => {
      expect(begun).toHaveLength(1);
    });
  });

  it("gets it too when its request was quicker than the page's word", async () => {
    const { get, say, asked } = worker();
    const answer = get("/a.mp4", START);
    say({ p2pcdn: "hello", begin: [url] });
    expect(await (await answer)?.text()).toBe("film bytes=0-196607");
    expect(asked).toEqual([]);
  });

  it("gets a redirect to another site from the network itself", async () => {
    const film = (): Response => Promise.reject(new TypeError()) as unknown as Response;
    const { get, say, asked } = worker({ film });
    say({ p2pcdn: "hello", begin: [url] });
    const answer = await get("/a.mp4", START);
    expect([asked, answer?.type]).toEqual([[], "basic"]);
  });

  it("on a page that was there before the worker is left to what it began with", async () => {
    const { get, asked } = worker();
    const answer = await get("/a.mp4", START);
    expect([asked, answer?.type]).toEqual([[url], "basic"]);
  });

  it("plays on from the network where no loader ever comes", async () => {
    vi.useFakeTimers();
    try {
      const { get, say, asked, log } = worker();
      say({ p2pcdn: "hello", begin: [url], loading: true });
      await get("/a.mp4", START);
      const rest = get("/a.mp4", { headers: { range: "bytes=10-" } });
      await vi.advanceTimersByTimeAsync(2000);
      expect((await rest)?.type).toBe("default");
      // Nor is it asked again, and what it begins now is none of ours.
      expect((await get("/a.mp4", { headers: { range: "bytes=20-" } }))?.type).toBe("default");
      expect(get("/b.mp4", START)).toBeNull();
      expect(asked).toEqual([]);
      expect(log.filter((what) => what === "network")).toHaveLength(2);
    } finally {
      vi.useRealTimers();
    }
  });
});
