/** The worker's and the page's end together, over real MessagePorts. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { Content } from "../../src/engine";
import { Bridge, type BridgeHost } from "../../src/loader/bridge";
import { ask } from "../../src/worker/ask";
import type { Ask } from "../../src/worker/protocol";
import { memoryContent, pattern } from "../support/bytes";

const URL_ = "http://site/a.mp4";
const PATIENT: [number, number] = [5000, 5000];
const HASTY: [number, number] = [30, 30];
const ports: MessagePort[] = [];

afterEach(() => {
  for (const port of ports.splice(0)) port.close();
});

type Awaitable<T> = T | Promise<T>;

/** A page whose bridge has this content; what `client.postMessage` reaches. */
function page(content: Awaitable<Content | null | number>, host: Partial<BridgeHost> = {}) {
  const bridge = new Bridge({
    content: () => Promise.resolve(content),
    through: () => undefined,
    passed: () => undefined,
    opened: () => undefined,
    stalled: () => undefined,
    stallMs: 60_000,
    ...host,
  });
  const client = {
    id: "page",
    postMessage(question: unknown, [port]: Transferable[]) {
      ports.push(port as MessagePort);
      bridge.answer(question as Ask, port as MessagePort);
    },
  };
  return { bridge, client };
}

function request(
  client: { id: string; postMessage(q: unknown, t: Transferable[]): void },
  range: string | null,
  patience = PATIENT,
  url = URL_,
) {
  const spoken: boolean[] = [];
  const response = ask(client, url, range, ...patience, (spoke) => spoken.push(spoke));
  return { response, spoken };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe("a media request", () => {
  it.each([
    [null, 200, 0, 700_001],
    ["bytes=0-", 206, 0, 700_001],
    ["bytes=65535-65537", 206, 65535, 65538],
    ["bytes=-3", 206, 699_998, 700_001],
  ])("for %s gets the content's own bytes", async (range, status, start, end) => {
    const bytes = pattern(700_001);
    for (const step of [1, 999, 300_000, 700_001]) {
      if (step === 1 && end - start > 1000) continue;
      const { client } = page(memoryContent(bytes, { step }));
      const response = await request(client, range).response;
      expect(response?.status).toBe(status);
      const got = new Uint8Array((await response?.arrayBuffer()) ?? new ArrayBuffer(0));
      expect(Buffer.compare(got, bytes.subarray(start, end))).toBe(0);
    }
  });

  it("leaves the engine's own bytes usable: they are copied, not taken", async () => {
    const bytes = pattern(5000);
    const { client } = page(memoryContent(bytes));
    for (let i = 0; i < 2; i++) {
      const response = await request(client, null).response;
      expect(
        Buffer.compare(Buffer.from((await response?.arrayBuffer()) ?? new ArrayBuffer(0)), bytes),
      ).toBe(0);
    }
  });

  it("reads no further than the player does", async () => {
    const content = memoryContent(pattern(1_000_000));
    const { client } = page(content);
    const response = await request(client, null).response;
    const reader = response?.body?.getReader();
    await reader?.read();
    await until(() => content.taken >= 2000);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(content.taken).toBeLessThanOrEqual(4000);
    await reader?.cancel();
    await until(() => content.aborted === 1);
  });

  it("out of range is refused with the size", async () => {
    const { client, bridge } = page(memoryContent(pattern(10)));
    const response = await request(client, "bytes=10-").response;
    expect(response?.status).toBe(416);
    expect(response?.headers.get("content-range")).toBe("bytes */10");
    expect(bridge.open).toBe(0);
  });

  it("that the page does not want goes to the network", async () => {
    const { client, bridge } = page(null);
    const { response, spoken } = request(client, null);
    expect(await response).toBeNull();
    expect(spoken).toEqual([true]);
    expect(bridge.open).toBe(0);
  });

  it("of a page whose engine throws goes to the network", async () => {
    const { client } = page(Promise.reject(new Error("fault")));
    expect(await request(client, null).response).toBeNull();
  });

  it("of a page without a loader goes to the network, and the page is known as silent", async () => {
    const client = { id: "page", postMessage: () => undefined };
    const { response, spoken } = request(client, null, HASTY);
    expect(await response).toBeNull();
    expect(spoken).toEqual([false]);
  });

  it("of a page that was only busy is answered by the network, and the page heard later", async () => {
    let port: MessagePort | undefined;
    const client = {
      id: "page",
      postMessage: (_: unknown, [given]: Transferable[]) => {
        port = given as MessagePort;
        ports.push(port);
      },
    };
    const { response, spoken } = request(client, null, HASTY);
    expect(await response).toBeNull();
    port?.postMessage(0);
    await until(() => spoken.length === 2);
    expect(spoken).toEqual([false, true]);
  });

  it("waits for a slow origin as long as the page is alive", async () => {
    const bytes = pattern(3000);
    const content = memoryContent(bytes, {
      before: () => new Promise((resolve) => setTimeout(resolve, 120)),
    });
    const { client } = page(content);
    const patience: [number, number] = [5000, 40];
    const response = await request(client, null, patience).response;
    expect(
      Buffer.compare(Buffer.from((await response?.arrayBuffer()) ?? new ArrayBuffer(0)), bytes),
    ).toBe(0);
  });

  it("breaks, so that the player asks again, when the page dies in the middle", async () => {
    let port: MessagePort | undefined;
    const client = {
      id: "page",
      postMessage: (_: unknown, [given]: Transferable[]) => {
        port = given as MessagePort;
        ports.push(port);
        port.postMessage({ status: 200, headers: { "Content-Length": "10" }, body: true });
      },
    };
    const response = await request(client, null, HASTY).response;
    await expect(response?.arrayBuffer()).rejects.toBeUndefined();
  });

  it.each(["short", "broken"])("breaks when the engine's bytes are %s", async (how) => {
    const bytes = pattern(5000);
    const content = memoryContent(bytes, {
      before: (at) => {
        if (how === "broken" && at >= 2000) throw new Error("origin is gone");
      },
    });
    const short = { ...content, size: how === "short" ? 6000 : 5000 };
    if (how === "short") short.read = (start, _, signal) => content.read(start, 5000, signal);
    const { client, bridge } = page(short);
    const response = await request(client, null).response;
    await expect(response?.arrayBuffer()).rejects.toThrow();
    expect(bridge.open).toBe(0);
  });

  it("never gets more than the range it asked for", async () => {
    const bytes = pattern(5000);
    const content = memoryContent(bytes);
    const generous = { ...content };
    generous.read = (start, _, signal) => content.read(start, 5000, signal);
    const { client } = page(generous);
    const response = await request(client, "bytes=0-1499").response;
    expect((await response?.arrayBuffer())?.byteLength).toBe(1500);
  });

  it("is told of when its bytes do not come, and can be broken off", async () => {
    const stalls: [string, number, boolean][] = [];
    let release = (): void => undefined;
    const content = memoryContent(pattern(5000), {
      before: (at) => (at < 2000 ? undefined : new Promise<void>((resolve) => (release = resolve))),
    });
    const { client, bridge } = page(content, {
      stallMs: 20,
      stalled: (url, at, still) => stalls.push([url, at, still()]),
    });
    const response = await request(client, null).response;
    const body = response?.arrayBuffer();
    const broken = expect(body).rejects.toThrow();
    await until(() => stalls.length > 0);
    expect(stalls[0]).toEqual([URL_, 2000, true]);
    bridge.break(URL_);
    await broken;
    release();
    expect(bridge.open).toBe(0);
  });
});

describe("while a content is not known", () => {
  const bytes = pattern(500_000);
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });

  /** A site with one resource, and what it was asked for. */
  async function site(answer?: (range: string) => [number, Record<string, string>, Uint8Array]) {
    const asked: string[] = [];
    const server = createServer((question, response) => {
      const range = question.headers.range ?? "";
      asked.push(range);
      const [, from = 0, to = 0] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
      const [first, last] = [Number(from), Math.min(Number(to), bytes.length - 1)];
      const found = `bytes ${String(first)}-${String(last)}/${String(bytes.length)}`;
      const head = { "Content-Type": "video/mp4", "Content-Range": found };
      const [status, headers, body] = answer?.(range) ?? [
        206,
        head,
        bytes.subarray(first, last + 1),
      ];
      response.writeHead(status, headers).end(body);
    });
    servers.push(server);
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as AddressInfo;
    return { asked, url: `http://127.0.0.1:${String(port)}/a.mp4` };
  }

  it.each([
    ["bytes=0-", 0, 100_000],
    ["bytes=100000-", 100_000, 200_000],
    ["bytes=450000-", 450_000, 500_000],
    ["bytes=7-9", 7, 10],
  ])("a player that asks for %s gets a part of the network's bytes", async (range, from, to) => {
    const { asked, url } = await site();
    const kept: [Uint8Array, number][] = [];
    const passed: string[] = [];
    const { bridge, client } = page(100_000, {
      through: (_, got, at) => kept.push([got, at]),
      passed: (by) => passed.push(by),
    });
    const response = await request(client, range, PATIENT, url).response;
    expect(response?.status).toBe(206);
    expect(response?.headers.get("content-range")).toBe(
      `bytes ${String(from)}-${String(to - 1)}/500000`,
    );
    expect(response?.headers.get("content-length")).toBe(String(to - from));
    const got = new Uint8Array((await response?.arrayBuffer()) ?? new ArrayBuffer(0));
    expect(Buffer.compare(got, bytes.subarray(from, to))).toBe(0);
    expect(asked).toHaveLength(1);
    expect(kept.map(([part, at]) => [part.length, at])).toEqual([[to - from, from]]);
    expect(Buffer.compare(kept[0]?.[0] ?? Buffer.alloc(0), got)).toBe(0);
    expect(passed).toEqual([]);
    await until(() => bridge.open === 0);
  });

  it.each<[string, string | null, Parameters<typeof site>[0]]>([
    ["a route that ignores ranges", "bytes=0-", () => [200, { "Content-Type": "a/b" }, bytes]],
    ["an error", "bytes=0-", () => [500, {}, bytes]],
    ["a redirect", "bytes=0-", () => [302, { Location: "/b.mp4" }, bytes]],
    [
      "another part than was asked for",
      "bytes=5-",
      () => [206, { "Content-Type": "a/b", "Content-Range": "bytes 0-9/10" }, bytes.slice(0, 10)],
    ],
    ["a question without a range", null, undefined],
    ["a suffix", "bytes=-100", undefined],
    ["more than should be held at once", "bytes=0-9999999", undefined],
  ])("%s is left to the network", async (_, range, answer) => {
    const { url } = await site(answer);
    const passed: string[] = [];
    const { bridge, client } = page(100_000, { passed: (by) => passed.push(by) });
    expect(await request(client, range, PATIENT, url).response).toBeNull();
    expect(passed).toEqual([url]);
    expect(bridge.open).toBe(0);
  });

  it("a part that breaks off is an error, not an end", async () => {
    const { url } = await site(() => [
      206,
      { "Content-Type": "a/b", "Content-Range": "bytes 0-99999/500000" },
      bytes.subarray(0, 5000),
    ]);
    const kept: unknown[] = [];
    const { client } = page(100_000, { through: (...all) => kept.push(all) });
    const response = await request(client, "bytes=0-", PATIENT, url).response;
    const failed = response?.arrayBuffer().then(
      () => false,
      () => true,
    );
    expect(await failed).toBe(true);
    expect(kept).toEqual([]);
  });
});
