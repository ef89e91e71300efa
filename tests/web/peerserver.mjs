// The real npm `peer`, with the settings of tests/web/test_coordinator_peerserver.py.
import { createRequire } from "node:module";

const require = createRequire(new URL("../browser/package.json", import.meta.url));
const { PeerServer } = require("peer");

PeerServer(
  { host: "127.0.0.1", port: 0, path: "/peerjs", expire_timeout: 1000, concurrent_limit: 4 },
  (server) => console.log(server.address().port),
);
process.stdin.resume().on("end", () => process.exit(0));
