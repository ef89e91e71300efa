/** From what simulations found to tables and charts. */
import { PATTERNS, type Plan, type Summary } from "./audience";
import type { Chart, Series } from "./plot";

export interface Found {
  readonly plan: Plan;
  readonly summary: Summary;
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const number = (value: number, digits = 0): string =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function markdown(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(heads), line(heads.map((_, i) => (i ? "---:" : "---"))), ...rows.map(line), ""].join(
    "\n",
  );
}

const scale = (all: readonly Found[]): Found[] =>
  all
    .filter(({ plan }) => plan.uplink === null)
    .sort(
      ({ plan: a }, { plan: b }) =>
        b.seconds - a.seconds ||
        PATTERNS.indexOf(a.pattern) - PATTERNS.indexOf(b.pattern) ||
        a.viewers - b.viewers,
    );

/** What the origin can give, as a share of what all viewers need together. */
const originShare = ({ origin, viewers, bytesPerS }: Plan): number =>
  origin / (viewers * bytesPerS);

const swept = (all: readonly Found[]): Found[] =>
  all
    .filter(({ plan }) => plan.uplink !== null)
    .sort(
      (a, b) =>
        originShare(a.plan) - originShare(b.plan) || (a.plan.uplink ?? 0) - (b.plan.uplink ?? 0),
    );

export function tables(all: readonly Found[]): Record<string, string> {
  return {
    scale: markdown(
      [
        "film",
        "arrivals",
        "peers",
        "films from the origin",
        "from peers",
        "of the possible",
        "stalls",
        "start, median",
        "p95",
        "coordinator messages a peer",
        "a second",
        "wire messages a second",
        "CPU ms a second",
      ],
      scale(all).map(({ plan, summary: s }) => [
        `${number(plan.seconds)} s`,
        s.pattern,
        number(s.viewers),
        number(s.copies, 2),
        percent(s.offload),
        percent(s.ofPossible),
        number(s.stalls),
        `${number(1000 * s.start)} ms`,
        `${number(1000 * s.start95)} ms`,
        number(s.coordinatorPerPeer),
        number(s.coordinatorPerPeerS, 1),
        number(s.wirePerPeerS, 1),
        number(s.cpuPerPeerS, 1),
      ]),
    ),
    uplink: markdown(
      [
        "mean uplink",
        "the origin gives",
        "from peers",
        "viewers with a stall",
        "stalls a viewer",
        "waiting a viewer",
        "start, median",
      ],
      swept(all).map(({ plan, summary: s }) => [
        `${number(plan.uplink ?? 0, 1)} x bitrate`,
        percent(originShare(plan)),
        percent(s.offload),
        `${number(s.stalled)} of ${number(s.viewers)}`,
        number(s.stalls / s.viewers, 1),
        `${number(s.waiting, 1)} s`,
        `${number(1000 * s.start)} ms`,
      ]),
    ),
  };
}

const SIZES = [10, 100, 1000, 10_000];

export function charts(all: readonly Found[]): Record<string, Chart> {
  const found = scale(all);
  const kinds = [...new Set(found.map(({ plan }) => `${plan.pattern}, ${number(plan.seconds)} s`))];
  const offload: Series[] = kinds.map((name) => ({
    name,
    points: found
      .filter(({ plan }) => `${plan.pattern}, ${number(plan.seconds)} s` === name)
      .map(({ summary }) => [summary.viewers, 100 * summary.offload] as const),
  }));
  const peers = { label: "peers", ticks: SIZES, log: true };
  const possible: Series = {
    name: "possible",
    dashed: true,
    points: SIZES.map((n) => [n, (100 * (n - 1)) / n]),
  };
  const shares = [...new Set(swept(all).map(({ plan }) => originShare(plan)))];
  const sweep = (pick: (s: Summary) => number): Series[] =>
    shares.map((share) => ({
      name: `origin ${percent(share)}`,
      points: swept(all)
        .filter(({ plan }) => originShare(plan) === share)
        .map(({ plan, summary }) => [plan.uplink ?? 0, pick(summary)] as const),
    }));
  const uplink = {
    label: "mean uplink, in multiples of the bitrate",
    ticks: [0, 0.4, 0.8, 1.2, 1.6, 2],
  };
  const most = (series: readonly Series[], step: number): number[] => {
    const top = Math.max(step, ...series.flatMap(({ points }) => points.map(([, y]) => y)));
    return Array.from({ length: 6 }, (_, i) => (i * Math.ceil(top / step) * step) / 5);
  };
  // Of the film that the largest swarm saw.
  const seconds = found.reduce((a, b) => (b.plan.viewers > a.plan.viewers ? b : a)).plan.seconds;
  const steady = found
    .filter(({ plan }) => plan.pattern === "steady" && plan.seconds === seconds)
    .map(({ summary }) => summary);
  const cost: Series[] = [
    { name: "CPU, ms", points: steady.map((s) => [s.viewers, s.cpuPerPeerS]) },
    { name: "wire messages", points: steady.map((s) => [s.viewers, s.wirePerPeerS]) },
    { name: "to the coordinator", points: steady.map((s) => [s.viewers, s.coordinatorPerPeerS]) },
  ];
  const waiting = sweep((s) => s.waiting);
  return {
    offload: {
      title: "What came from peers",
      x: peers,
      y: { label: "% of all bytes", ticks: [0, 20, 40, 60, 80, 100] },
      series: [...offload, possible],
    },
    cost: {
      title: "What a peer costs in a second (steady arrivals)",
      x: peers,
      y: { label: "a peer and second", ticks: most(cost, 10) },
      series: cost,
    },
    waiting: {
      title: "When uplinks are scarce: waiting",
      x: uplink,
      y: { label: "seconds a viewer, of 60 s of film", ticks: most(waiting, 10) },
      series: waiting,
    },
    uplink: {
      title: "When uplinks are scarce: what came from peers",
      x: uplink,
      y: { label: "% of all bytes", ticks: [0, 20, 40, 60, 80, 100] },
      series: sweep((s) => 100 * s.offload),
    },
  };
}
