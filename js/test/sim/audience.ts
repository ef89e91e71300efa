/** Who comes to see the film, when, over which lines; and what it came to. */
import { generator } from "./clock";
import { line, type Line, type Nat } from "./lines";
import { World, type Viewing } from "./world";

export const PATTERNS = ["steady", "flash", "departure"] as const;
/**
 * `steady`: one after the other, at random, within one length of the film. `flash`: everybody
 * within five seconds. `departure`: as steady, and in the middle of it every second one of those
 * who are there vanishes within a second.
 */
export type Pattern = (typeof PATTERNS)[number];

export interface Plan {
  readonly viewers: number;
  readonly pattern: Pattern;
  readonly seconds: number;
  readonly bytesPerS: number;
  readonly segmentBytes: number;
  /** The origin's uplink, bytes per second. */
  readonly origin: number;
  /** Mean uplink in multiples of the film's rate; null: lines as they are sold, see `LINES`. */
  readonly uplink: number | null;
  readonly seed: number;
}

/** What a visitor has at home: share of the visitors, Mbit/s up and down, seconds one way. */
const LINES = [
  { share: 0.3, up: 20, down: 100, latency: 0.004, cellular: false },
  { share: 0.35, up: 5, down: 50, latency: 0.012, cellular: false },
  { share: 0.2, up: 1, down: 10, latency: 0.02, cellular: false },
  { share: 0.15, up: 5, down: 20, latency: 0.03, cellular: true },
] as const;
/** With a given mean: the same spread, everybody uploads. */
const SPREAD = [0.35, 0.7, 1.2, 1.75];
const MBIT = 125_000;
const NATS: readonly (readonly [number, Nat])[] = [
  [0.5, "cone"],
  [0.35, "port"],
  [0.15, "symmetric"],
];
/** So many close the page or lose the line in mid-film, without a word. */
const FICKLE = 0.1;
const FLASH_S = 5;
/** Who has seen the end stays about that long. */
const STAY_S = 10;

function lines(plan: Plan): (n: number) => Line {
  const random = generator(plan.seed + 1000);
  const pick = <T>(of: readonly (readonly [number, T])[], last: T): T => {
    let at = random();
    for (const [share, value] of of) if ((at -= share) < 0) return value;
    return last;
  };
  return (n) => {
    const nat = pick(NATS, "cone");
    const kind = pick(
      LINES.map((l) => [l.share, l] as const),
      LINES[0],
    );
    if (plan.uplink === null)
      return line(kind.up * MBIT, kind.down * MBIT, kind.latency, nat, kind.cellular);
    const up = plan.uplink * plan.bytesPerS * (SPREAD[n % SPREAD.length] ?? 1);
    return line(up, Math.max(10 * up, 50 * MBIT), kind.latency, nat);
  };
}

export interface Summary {
  readonly viewers: number;
  readonly pattern: Pattern;
  readonly uplink: number | null;
  /** Films that left the origin. */
  readonly copies: number;
  /** Verified bytes from peers / all verified bytes. */
  readonly offload: number;
  /** The same as a share of the possible, (N - 1) / N. */
  readonly ofPossible: number;
  readonly stalls: number;
  /** Viewers with at least one. */
  readonly stalled: number;
  /** Seconds of waiting a viewer, over those who were not made to vanish. */
  readonly waiting: number;
  /** Seconds to the first frame. */
  readonly start: number;
  readonly start95: number;
  readonly intact: boolean;
  readonly failedPairs: number;
  readonly peerSeconds: number;
  /** To and from the coordinator, heartbeats included. */
  readonly coordinatorPerPeer: number;
  readonly coordinatorPerPeerS: number;
  /** Data channel messages that a peer sends in a second. */
  readonly wirePerPeerS: number;
  /** Milliseconds of one core, the simulator's own share included. */
  readonly cpuPerPeerS: number;
  readonly causes: Readonly<Record<string, number>>;
}

const quantile = (values: readonly number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.floor(q * (values.length - 1))] ?? NaN;

/** Plays it to its end; `tell` hears of each virtual second, and how many are there. */
export async function play(
  plan: Plan,
  tell?: (second: number, present: number) => void,
): Promise<Summary> {
  const { viewers, pattern, seconds } = plan;
  const world = new World({ ...plan, line: lines(plan) });
  const random = generator(plan.seed + 2000);
  const within = pattern === "flash" ? FLASH_S : seconds;
  const arrivals = Array.from({ length: viewers }, () => random() * within).sort((a, b) => a - b);
  // The first one is there from the beginning.
  arrivals[0] = 0;
  const [user] = [process.cpuUsage()];
  const views = await world.run(async ({ clock }) => {
    const all: Promise<Viewing>[] = [];
    if (tell)
      setInterval(() => {
        tell(clock.now, world.present);
      }, 1000);
    for (const at of arrivals) {
      await clock.sleep(at - clock.now);
      // In the departure everybody whose turn it is has left by the film's second half.
      const doomed = pattern === "departure" && all.length % 2 === 1;
      const vanishAt = doomed ? (within * 3) / 4 + random() - at : Infinity;
      const fickle = random() < FICKLE ? random() * seconds : Infinity;
      const vanishS = Math.min(vanishAt > 0 ? vanishAt : Infinity, fickle);
      all.push(
        world.watch({
          ...(vanishS < seconds && { vanishS }),
          stayS: -STAY_S * Math.log(1 - random()),
        }),
      );
    }
    const seen = await Promise.all(all);
    return seen;
  });
  const used = process.cpuUsage(user);
  const stayed = views.filter((v) => v.whole);
  const sum = (pick: (v: Viewing) => number, of: Viewing[] = views): number =>
    of.reduce((total, v) => total + pick(v), 0);
  const causes: Record<string, number> = {};
  for (const v of views)
    for (const [cause, n] of Object.entries(v.causes)) causes[cause] = (causes[cause] ?? 0) + n;
  const starts = views.map((v) => v.start).filter((s) => s >= 0);
  const fromPeers = sum((v) => v.fromPeers);
  const offload = fromPeers / (fromPeers + sum((v) => v.fromOrigin));
  const { presence, hub, rtc } = world;
  return {
    viewers,
    pattern,
    uplink: plan.uplink,
    copies: world.copies,
    offload,
    ofPossible: offload / ((viewers - 1) / viewers),
    stalls: sum((v) => v.stalls),
    stalled: views.filter((v) => v.stalls).length,
    waiting: sum((v) => v.stalledS, stayed) / stayed.length,
    start: quantile(starts, 0.5),
    start95: quantile(starts, 0.95),
    intact: views.every((v) => v.intact),
    failedPairs: rtc.failed / Math.max(1, rtc.failed + rtc.opened),
    peerSeconds: presence,
    coordinatorPerPeer: hub.messages / viewers,
    coordinatorPerPeerS: hub.messages / presence,
    wirePerPeerS: rtc.messages / presence,
    cpuPerPeerS: (used.user + used.system) / 1000 / presence,
    causes,
  };
}
