// The reference: npm `bittorrent-tracker`'s WebSocket server. Prints its port.
import Server from "../browser/node_modules/bittorrent-tracker/server.js";

const server = new Server({ udp: false, http: false, ws: true, stats: false });
server.listen(0, "127.0.0.1", () => console.log(server.ws.address().port));
process.stdin.resume().on("end", () => process.exit(0));
