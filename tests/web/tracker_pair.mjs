// What two unmodified npm `bittorrent-tracker` clients with real WebRTC find on a tracker.
//   node tracker_pair.mjs ws://127.0.0.1:<port>/peerjs/tracker
// prints one line for each thing that happened.

import { randomBytes } from "node:crypto";
import { createRequire, register } from "node:module";

// Its WebRTC for Node is a native module that may not be built here; the same API from another.
const wrtc = createRequire(new URL("../browser/package.json", import.meta.url));
globalThis.wrtc = wrtc("@roamhq/wrtc");
const data = (code) => "data:text/javascript," + encodeURIComponent(code);
const names = ["RTCPeerConnection", "RTCSessionDescription", "RTCIceCandidate"];
const polyfill = data(
  `export const {${names}} = globalThis.wrtc; export default globalThis.wrtc;`,
);
register(
  data(`export const resolve = (name, context, next) => name === "webrtc-polyfill"
    ? {url: ${JSON.stringify(polyfill)}, shortCircuit: true} : next(name, context);`),
);
const { Client } = await import("../browser/node_modules/bittorrent-tracker/index.js");

const [announce] = process.argv.slice(2);
const infoHash = randomBytes(20);
const say = (line) => console.log(line);
const next = (emitter, name) => new Promise((resolve) => emitter.once(name, resolve));

function client() {
  const made = new Client({
    infoHash,
    peerId: randomBytes(20),
    announce: [announce],
    wrtc: globalThis.wrtc,
    port: 6881, // of the classic protocol, which nobody uses here
    rtcConfig: { iceServers: [] },
    getAnnounceOpts: () => ({ left: 1000 }),
  });
  made.on("warning", (warning) => say(`warning ${warning.message}`));
  made.on("error", (error) => say(`error ${error.message}`));
  return made;
}

const first = client();
const alone = next(first, "update");
first.start();
const update = await alone;
say(`first ${update.complete} ${update.incomplete}`);

const second = client();
const met = Promise.all([next(first, "peer"), next(second, "peer")]);
const both = next(second, "update");
second.start();
say(`second ${(await both).incomplete}`);

const [a, b] = await met;
await Promise.all([a, b].map((peer) => peer.connected || next(peer, "connect")));
const heard = next(b, "data");
a.send("hello");
say(`heard ${Buffer.from(await heard)}`);
say(`ids ${a.id === second.peerId} ${b.id === first.peerId}`);

const completed = next(second, "update");
second.complete({ left: 0 });
say(`completed ${(await completed).complete}`);
const scraped = next(first, "scrape");
first.scrape();
const { complete, incomplete } = await scraped;
say(`scrape ${complete} ${incomplete}`);

const left = next(second, "update");
second.stop();
say(`stopped ${(await left).incomplete}`);
process.exit(0);
