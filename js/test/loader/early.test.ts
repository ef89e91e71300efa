/** What is asked ahead of the engine: each thing leaves the site once, and never hinders. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { ORIGIN_MARK } from "../../src/engine";
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

it("asks for the manifest as the engine does, and only once", async () => {
  early.manifest(film(), ["/a.m3u8"]);
  early.manifest(film(), ["/a.m3u8"]);
  const found = await askManifest(early.fetch, base, film(), early.id, ["/a.m3u8"]);
  expect(found).toMatchObject({ token: "t" });
  expect(asked).toHaveLength(1);
  await askManifest(early.fetch, base, film(), early.id, ["/a.m3u8"]);
  expect(asked).toEqual([asked[0], asked[0]]);
});

it("asks for a manifest that it has handed over anew", async () => {
  early.manifest(film(), []);
  expect(await askManifest(early.fetch, base, film(), early.id, [])).toMatchObject({ size: 10 });
  answer = (_, response) => response.end(JSON.stringify({ ...MANIFEST, size: 11 }));
  expect(await askManifest(early.fetch, base, film(), early.id, [])).toMatchObject({ size: 11 });
});

it("leaves what was not foreseen to the network", async () => {
  answer = (_, response) => response.end("the film");
  const response = await early.fetch(`${film()}${ORIGIN_MARK}`, {
    headers: { Range: "bytes=0-9" },
  });
  expect(await response.text()).toBe("the film");
  expect(asked).toEqual(["/media/a.mp4?signed=1&b=%20 bytes=0-9"]);
});

it("gives the engine a second chance where the early request failed", async () => {
  answer = (request) => request.socket.destroy();
  early.manifest(film(), []);
  await vi.waitFor(() => {
    expect(gone).toBe(1);
  });
  answer = (_, response) => response.end(JSON.stringify(MANIFEST));
  expect(await askManifest(early.fetch, base, film(), early.id, [])).toMatchObject({ token: "t" });
});

it("has an id that nobody guesses", () => {
  expect(early.id).toMatch(/^\d{1,10}(-\d{1,10}){3}$/);
  expect(new Early(base).id).not.toBe(early.id);
});

it("knows what this browser has stored, or that it may not look", () => {
  vi.stubGlobal("localStorage", { getItem: () => film() });
  expect(new Early(base).stored).toBe(film());
  vi.stubGlobal("localStorage", {
    getItem: () => {
      throw new Error("SecurityError");
    },
  });
  expect(new Early(base).stored).toBe("");
  vi.unstubAllGlobals();
});
