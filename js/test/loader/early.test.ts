/** What is asked ahead of the engine: each thing leaves the site once, and never hinders. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { FIRST_BYTES, ORIGIN_MARK } from "../../src/engine";
import { Early } from "../../src/loader/early";
import { askManifest } from "../../src/swarm/manifest";

const MANIFEST = {
  key: "0".repeat(32),
  url: "/media/a.mp4",
  size: 10,
  type: "video/mp4",
  segment_bytes: 65536,
  hashes: btoa("\0".repeat(32)),
  token: "t",
  expires: 1,
};
let asked: string[];
let gone: number;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let base: URL;
let early: Early;
const server = createServer((request, response) => {
  asked.push(`${request.url ?? ""} ${request.headers.range ?? ""}`.trim());
  response.on("close", () => (gone += response.writableFinished ? 0 : 1));
  answer(request, response);
});

beforeEach(async () => {
  asked = [];
  gone = 0;
  answer = (_, response) => response.end(JSON.stringify(MANIFEST));
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  base = new URL(`http://127.0.0.1:${String(port)}/p2pcdn/loader.js`);
  early = new Early(base);
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((closed) => server.close(closed));
});

const film = (): string => new URL("/media/a.mp4?signed=1&b=%20", base).href;
const range = { headers: { Range: `bytes=0-${String(FIRST_BYTES - 1)}` } };

it("asks for the manifest as the engine does, and only once", async () => {
  early.manifest(film(), ["/a.m3u8"]);
  early.manifest(film(), ["/a.m3u8"]);
  const found = await askManifest(early.fetch, base, film(), early.id, ["/a.m3u8"]);
  expect(found).toMatchObject({ token: "t" });
  expect(asked).toHaveLength(1);
  await askManifest(early.fetch, base, film(), early.id, ["/a.m3u8"]);
  expect(asked).toEqual([asked[0], asked[0]]);
});

/** A site's answer to a range of a film of so many bytes. */
const film206 =
  (size: number): typeof answer =>
  ({ headers }, response) => {
    const [first = "", last = ""] = (/(\d+)-(\d+)/.exec(headers.range ?? "") ?? []).slice(1);
    const end = Math.min(Number(last), size - 1);
    response.writeHead(206, { "Content-Range": `bytes ${first}-${String(end)}/${String(size)}` });
    response.end(`from ${first} to ${String(end)}`);
  };

it("hands the first bytes to the engine, and asks for others anew", async () => {
  answer = film206(1e6);
  early.bytes(film(), new AbortController().signal);
  const first = await early.fetch(film() + ORIGIN_MARK, range);
  expect(await first.text()).toBe(`from 0 to ${String(FIRST_BYTES - 1)}`);
  expect(asked).toEqual([`/media/a.mp4?signed=1&b=%20 bytes=0-${String(FIRST_BYTES - 1)}`]);
  await early.fetch(film() + ORIGIN_MARK, range);
  expect(asked).toHaveLength(2);
});

it("hands over all of a film that is shorter than what was asked for", async () => {
  answer = film206(1000);
  early.bytes(film(), new AbortController().signal);
  const whole = { headers: { Range: "bytes=0-999" } };
  const first = await early.fetch(film() + ORIGIN_MARK, whole);
  expect(await first.text()).toBe("from 0 to 999");
  expect(asked).toHaveLength(1);
});

it("never passes one range off as another", async () => {
  answer = film206(1e6);
  early.bytes(film(), new AbortController().signal);
  const other = { headers: { Range: "bytes=0-32767" } };
  const first = await early.fetch(film() + ORIGIN_MARK, other);
  expect(await first.text()).toBe("from 0 to 32767");
});

it("lets the connection go when the video plays direct after all", async () => {
  answer = (_, response) => response.writeHead(200).write("the beginning of a whole film");
  const direct = new AbortController();
  early.bytes(film(), direct.signal);
  await vi.waitFor(() => {
    expect(asked).toHaveLength(1);
  });
  direct.abort();
  await vi.waitFor(() => {
    expect(gone).toBe(1);
  });
  answer = (_, response) => response.end("{}");
  expect((await early.fetch(film() + ORIGIN_MARK, range)).status).toBe(200);
  expect(asked).toHaveLength(2);
});

it("ends with the engine's own request", async () => {
  answer = (_, response) => response.writeHead(200).write("...");
  early.bytes(film(), new AbortController().signal);
  const engine = new AbortController();
  const response = await early.fetch(film() + ORIGIN_MARK, { ...range, signal: engine.signal });
  engine.abort();
  await expect(response.text()).rejects.toThrow();
  await vi.waitFor(() => {
    expect(gone).toBe(1);
  });
});

it("gives the engine a second chance where the early request failed", async () => {
  answer = (request) => request.socket.destroy();
  early.bytes(film(), new AbortController().signal);
  await vi.waitFor(() => {
    expect(gone).toBe(1);
  });
  answer = (_, response) => response.end("{}");
  expect((await early.fetch(film() + ORIGIN_MARK, range)).ok).toBe(true);
});

it("has an id that nobody guesses", () => {
  expect(early.id).toMatch(/^\d{1,10}(-\d{1,10}){3}$/);
  expect(new Early(base).id).not.toBe(early.id);
});

it("does not ask the site for the beginning of a film that this browser has stored", () => {
  vi.stubGlobal("localStorage", { getItem: () => `${base.href}\n${film()}` });
  new Early(base).bytes(film(), new AbortController().signal);
  const other = new Early(base);
  other.manifest(film(), []);
  vi.unstubAllGlobals();
  return vi.waitFor(() => {
    expect(asked.map((line) => line.split("?")[0])).toEqual(["/p2pcdn/manifest"]);
  });
});

it("asks all the same where the browser's storage is blocked", async () => {
  vi.stubGlobal("localStorage", {
    getItem: () => {
      throw new Error("SecurityError");
    },
  });
  answer = film206(1e6);
  new Early(base).bytes(film(), new AbortController().signal);
  vi.unstubAllGlobals();
  await vi.waitFor(() => {
    expect(asked).toHaveLength(1);
  });
});
