/* eslint-disable @typescript-eslint/no-non-null-assertion -- a test that fails there fails rightly */
import { createServer, type Server } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Client, type ClientDeps } from "../../src/coordinator/client";
import { incoming, signal, sources, type Incoming } from "../../src/coordinator/messages";

interface ServerSocket {
  send(text: string): void;
  close(): void;
  on(event: "message", heard: (data: Buffer) => void): void;
}
interface Ws {
  WebSocket: typeof globalThis.WebSocket;
  WebSocketServer: new (options: object) => {
    on(event: "connection", heard: (socket: ServerSocket, request: { url: string }) => void): void;
    handleUpgrade(...args: unknown[]): void;
    emit(...args: unknown[]): void;
  };
}
const require = createRequire(new URL("../../../tests/browser/package.json", import.meta.url));
const ws = require("ws") as Ws;

let server: Server;
let base: URL;
let client: Client | undefined;
let heard: Incoming[];
let opened: number;
let posts: {
  messages: { type: string }[];
  serial: number;
  again: boolean;
  leave?: boolean;
  id: string;
  token: string;
}[];
let upgrades: string[];
let sockets: ServerSocket[];
let said: { type: string }[];
/** What the site does with a WebSocket. */
let upgrade: "open" | "refuse" | "hang" | "error";
/** "deaf": it takes requests, and its answers get lost. */
let mailbox: "open" | "fail" | "deaf";
let reply: unknown[];
let raw: Socket[];

beforeEach(async () => {
  [heard, posts, upgrades, sockets, said, reply, raw] = [[], [], [], [], [], [], []];
  [opened, upgrade, mailbox] = [0, "open", "open"];
  const known = new Set<string>();
  server = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on("data", (chunk: Buffer) => chunks.push(chunk));
    req.on("end", () => {
      if (mailbox === "fail") return void res.writeHead(503).end("<html>");
      const body = JSON.parse(Buffer.concat(chunks).toString()) as (typeof posts)[number];
      posts.push(body);
      if (mailbox === "deaf") return void req.socket.destroy();
      const fresh = known.has(body.id) ? [] : [{ type: "OPEN" }];
      known.add(body.id);
      res.end(JSON.stringify({ messages: [...fresh, ...reply.splice(0)], wait: 0.05 }));
    });
  });
  const wss = new ws.WebSocketServer({ noServer: true });
  server.on("upgrade", (req, socket: Socket, head) => {
    upgrades.push(req.url ?? "");
    raw.push(socket);
    if (upgrade === "refuse") socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
    else if (upgrade !== "hang") {
      wss.handleUpgrade(req, socket, head, (ready: ServerSocket) => {
        sockets.push(ready);
        ready.on("message", (data) => said.push(JSON.parse(data.toString()) as { type: string }));
        ready.send(
          upgrade === "error"
            ? '{"type":"ERROR","payload":{"msg":"Server has reached its concurrent user limit"}}'
            : '{"type":"OPEN"}',
        );
      });
    }
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  base = new URL(`http://127.0.0.1:${String((server.address() as AddressInfo).port)}/app/peerjs/`);
});

afterEach(async () => {
  client?.close();
  for (const socket of raw) socket.destroy();
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
});

function start(socket: boolean, deps: Partial<ClientDeps> = {}): Client {
  return (client = new Client(
    { base, id: "me", token: "secret", key: "peerjs", version: "1", socket },
    {
      fetch: (input, init) => fetch(input, init),
      WebSocket: ws.WebSocket,
      sendBeacon: undefined,
      random: () => 0,
      ...deps,
    },
    { opened: () => opened++, heard: (message) => heard.push(message) },
  ));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setTimeout(done, 5));
}
const hello = { type: "WITHDRAW", payload: { content: "x" } } as const;

test("a WebSocket is used where one can be had, in PeerServer's form", async () => {
  const c = start(true);
  c.send(hello);
  await until(() => opened === 1 && said.length > 0);
  expect(c.transport).toBe("websocket");
  expect(upgrades).toEqual(["/app/peerjs/peerjs?key=peerjs&id=me&token=secret&version=1"]);
  expect(said[0]).toEqual(hello);
  expect(posts).toEqual([]);
});

test("heartbeats keep the coordinator from forgetting a quiet peer", async () => {
  start(true);
  await until(() => said.some((m) => m.type === "HEARTBEAT"));
});

test.each(["refuse", "error", "hang"] as const)(
  "a site whose WebSocket does not work (%s) is reached by the mailbox",
  async (how) => {
    upgrade = how;
    const c = start(true);
    c.send(hello);
    await until(() => c.transport === "mailbox");
    await until(() => posts.some((p) => p.messages.length > 0));
    expect(posts.flatMap((p) => p.messages)).toEqual([hello]);
    expect(opened).toBe(1);
  },
);

test("a page whose policy forbids WebSockets is not disturbed by that", async () => {
  const forbidden = function (): never {
    throw new DOMException("no", "SecurityError");
  };
  start(true, { WebSocket: forbidden as unknown as typeof WebSocket });
  await until(() => opened === 1);
});

test("where the server says so no WebSocket is tried", async () => {
  const c = start(false);
  await until(() => opened === 1);
  expect(upgrades).toEqual([]);
  expect(c.transport).toBe("mailbox");
  const who = { id: "me", token: "secret", key: "peerjs" };
  expect(posts[0]).toEqual({ ...who, messages: [], serial: 1, again: false });
});

test("a lost WebSocket comes back and everything is announced again", async () => {
  const c = start(true);
  await until(() => opened === 1);
  sockets[0]!.close();
  await until(() => opened === 2);
  expect(c.transport).toBe("websocket");
  expect(posts).toEqual([]);
});

test("REANNOUNCE and an OPEN in mid-life mean: announce again", async () => {
  start(false);
  await until(() => opened === 1);
  reply.push({ type: "REANNOUNCE" });
  await until(() => opened === 2);
});

test("messages come through the mailbox as objects or as texts, and nonsense does no harm", async () => {
  start(false);
  reply.push({ type: "A" }, '{"type":"B"}', null, 5, "{", { no: "type" }, []);
  await until(() => heard.length === 2);
  expect(heard.map((m) => m.type)).toEqual(["A", "B"]);
});

test("nonsense on the WebSocket does no harm", async () => {
  start(true);
  await until(() => opened === 1);
  for (const text of ["", "null", "[1]", "{", '{"type":1}']) sockets[0]!.send(text);
  sockets[0]!.send('{"type":"A"}');
  await until(() => heard.length > 0);
  expect(heard).toEqual([{ type: "A" }]);
});

test("a coordinator that fails is asked again, and nothing said meanwhile is lost", async () => {
  mailbox = "fail";
  const c = start(false);
  c.send(hello);
  await until(() => !c.hopeful);
  expect(c.transport).toBe("none");
  mailbox = "open";
  await until(() => posts.some((p) => p.messages.length > 0) && c.transport === "mailbox");
});

test("a request whose answer got lost is sent again as it was, and says so", async () => {
  const c = start(false);
  await until(() => c.transport === "mailbox");
  mailbox = "deaf";
  c.send({ ...hello, type: "REPORT", payload: { content: "first", bad: [] } });
  await until(() => posts.some((p) => p.messages.length === 1));
  c.send({ ...hello, type: "REPORT", payload: { content: "second", bad: [] } });
  await until(() => posts.some((p) => p.again));
  mailbox = "open";
  await until(() => posts.some((p) => JSON.stringify(p).includes("second")));
  const first = posts.filter((p) => JSON.stringify(p).includes("first"));
  expect(first.length).toBeGreaterThan(1);
  expect(first.map((p) => p.again)).toEqual(first.map((_, at) => at > 0));
  const told = first.map((p) => [p.serial, p.messages]);
  expect(told).toEqual(told.map(() => told[0]));
  const second = posts.find((p) => JSON.stringify(p).includes("second"));
  expect([second?.serial, second?.again]).toEqual([first[0]!.serial + 1, false]);
});

test("a page that goes away says so by beacon", async () => {
  const beacons: string[] = [];
  const c = start(false, { sendBeacon: (_url, body) => beacons.push(body) > 0 });
  await until(() => opened === 1);
  c.close();
  expect(JSON.parse(beacons[0]!)).toMatchObject({ id: "me", token: "secret", leave: true });
  const { length } = posts;
  c.send(hello);
  expect(posts).toHaveLength(length);
});

test("a page that goes away says so by fetch where there is no beacon", async () => {
  const c = start(false);
  await until(() => opened === 1);
  c.close();
  await until(() => posts.some((p) => p.leave));
});

test("what another loader or anybody else sends is taken apart with care", () => {
  expect(incoming("[]")).toBeNull();
  expect(signal({ p2pcdn: 1, connectionId: "a" })).not.toBeNull();
  for (const wrong of [null, 1, {}, { p2pcdn: 1 }, { p2pcdn: 1, connectionId: 5 }]) {
    expect(signal(wrong)).toBeNull();
  }
  expect(sources({ rid: 1, peers: [{ id: "a" }, null, { id: 5 }, "b"] })).toEqual({
    rid: 1,
    ids: ["a"],
  });
  for (const wrong of [null, undefined, 5, { peers: 5 }]) expect(sources(wrong).ids).toEqual([]);
});
