// The unmodified npm `peerjs` with real WebRTC, outside a browser: ids from the server, a data
// connection with an answer, an absent peer, a taken id, and (argument `reconnect`) a reconnection. Prints what happened.
import { createRequire } from "node:module";

const require = createRequire(new URL("../browser/package.json", import.meta.url));
const wrtc = require("@roamhq/wrtc");
const { RTCPeerConnection, RTCSessionDescription, RTCIceCandidate } = wrtc;
Object.assign(globalThis, { RTCPeerConnection, RTCSessionDescription, RTCIceCandidate });
globalThis.WebSocket = require("ws");
globalThis.window = globalThis.self = globalThis;
globalThis.location = { protocol: "http:", hostname: "127.0.0.1" };
globalThis.navigator ??= { userAgent: "Chrome/120" };
globalThis.addEventListener ??= () => {};
globalThis.removeEventListener ??= () => {};
const { Peer } = require("peerjs");

const options = {
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  path: process.env.PEER_PATH ?? "/peerjs",
  secure: false,
  debug: 0,
  config: { iceServers: [] },
};
const once = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));
const say = (...words) => console.log(...words);

const alice = new Peer(options);
const name = process.env.PEER_NAME ?? "bob-with-a-name";
const bob = new Peer(name, options);
await Promise.all([once(alice, "open"), once(bob, "open")]);
say("open");

bob.on("connection", (link) => link.on("data", (data) => link.send(`echo ${data}`)));
const link = alice.connect(name, { reliable: true });
await once(link, "open");
const echo = once(link, "data");
link.send("hello");
say(await echo);

const unavailable = once(alice, "error");
alice.connect("nobody");
say((await unavailable).type);

const taken = new Peer(name, options);
say((await once(taken, "error")).type);

if (process.argv[3] !== "reconnect") process.exit(0);
alice.disconnect();
alice.reconnect();
await once(alice, "open");
say("reconnected");
const second = alice.connect(name);
await once(second, "open");
say("open again");
process.exit(0);
