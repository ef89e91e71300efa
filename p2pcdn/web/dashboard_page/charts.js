// Charts in SVG, drawn to the width that there is.

const AXIS = 76;

/** Round values for an axis: at most about `n` of them, from 0 to at least `top`. */
function ticks(top, n) {
  const rough = top / n || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power;
  const values = [];
  for (let value = 0; value < top + step * 0.999; value += step) values.push(value);
  return values;
}

/** Times for the labels below: whole hours or days of the reader's own zone. */
function timeTicks(from, to, n) {
  const steps = [300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2419200];
  const step = steps.find((s) => (to - from) / s <= n) ?? 2419200;
  const shift = new Date(from * 1000).getTimezoneOffset() * 60;
  const found = [];
  for (let t = Math.ceil((from - shift) / step) * step + shift; t <= to; t += step) found.push([t, step]);
  return found;
}

class TimeChart {
  constructor(box, { height, rows, unit, maximum, label, paint, describe }) {
    Object.assign(this, { box, height, rows, unit, maximum, label, paint, describe });
    box.addEventListener("pointermove", (event) => this.point(event));
    box.addEventListener("pointerleave", () => this.leave());
  }

  show(series, step) {
    this.series = series;
    this.step = step;
    const width = Math.max(280, this.box.clientWidth);
    const bottom = this.height - 22;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${this.height}`, height: this.height, role: "img" });
    // Round in bits, not in bytes.
    const marks = ticks(this.maximum(series) * this.unit, this.rows)
      .map((v) => v / this.unit)
      .filter((v) => this.label(v) !== null);
    const top = marks.at(-1) || 1;
    const last = series.at(-1)?.t ?? 0;
    const first = series[0]?.t ?? 0;
    // A step is drawn at its middle; the line runs from the first to the last middle.
    this.x = (t) => AXIS + ((t - first) / Math.max(1, last - first)) * (width - AXIS - 8);
    const y = (value) => bottom - (value / top) * (bottom - 10);
    for (const value of marks) {
      svg.append(
        draw("line", { class: "grid", x1: AXIS, x2: width, y1: y(value), y2: y(value) }),
        draw("text", { class: "axis", x: AXIS - 8, y: y(value) + 4, "text-anchor": "end" }, this.label(value)),
      );
    }
    for (const [t, every] of timeTicks(first, last, width / 110)) {
      const x = this.x(t);
      if (x < AXIS || x > width) continue;
      const anchor = x > width - 30 ? "end" : "middle";
      const text = moment(t, every >= 86400 ? every : 1, false);
      svg.append(draw("text", { class: "axis", x, y: this.height - 4, "text-anchor": anchor }, text));
    }
    if (series.length > 1) this.paint(svg, series, this.x, y);
    this.cross = draw("line", { class: "cross", y1: 4, y2: bottom, visibility: "hidden" });
    svg.append(this.cross);
    svg.setAttribute("aria-label", this.describe(series));
    this.box.replaceChildren(svg);
    this.scale = width;
  }

  point(event) {
    if (!this.series?.length) return;
    const box = this.box.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * this.scale;
    const near = this.series.reduce((a, b) => (Math.abs(this.x(b.t) - at) < Math.abs(this.x(a.t) - at) ? b : a));
    this.cross.setAttribute("x1", this.x(near.t));
    this.cross.setAttribute("x2", this.x(near.t));
    this.cross.setAttribute("visibility", "visible");
    const all = near.from_peers + near.from_origin;
    tip.show(event, [
      moment(near.t, this.step, true),
      `${bytes(near.from_peers)} from peers, ${rate(near.from_peers / near.seconds)}`,
      `${bytes(near.from_origin)} from origin, ${rate(near.from_origin / near.seconds)}`,
      `offload ${percent(all ? near.from_peers / all : null)}`,
      `${count(near.views)} views${near.stalls ? `, ${count(near.stalls)} stalls` : ""}`,
    ]);
  }

  leave() {
    this.cross?.setAttribute("visibility", "hidden");
    tip.hide();
  }
}

const path = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;

function trafficChart(box) {
  return new TimeChart(box, {
    height: 250,
    rows: 4,
    unit: 8,
    maximum: (series) => Math.max(125, ...series.map((p) => (p.from_peers + p.from_origin) / p.seconds)),
    label: (value) => rate(value).replace(/\.?0+ /, (zeros) => (zeros.startsWith(".") ? " " : zeros)),
    paint(svg, series, x, y) {
      // Origin below: its height is what is paid for, and reads from the ground line.
      const ground = series.map((p) => [x(p.t), y(0)]);
      const origin = series.map((p) => [x(p.t), y(p.from_origin / p.seconds)]);
      const all = series.map((p) => [x(p.t), y((p.from_origin + p.from_peers) / p.seconds)]);
      svg.append(
        draw("path", { class: "area origin", d: `${path([...origin, ...ground.reverse()])}Z` }),
        draw("path", { class: "area peers", d: `${path([...all, ...[...origin].reverse()])}Z` }),
      );
    },
    describe: (series) =>
      `Bytes over time: ${bytes(series.reduce((n, p) => n + p.from_peers, 0))} from peers, ` +
      `${bytes(series.reduce((n, p) => n + p.from_origin, 0))} from origin`,
  });
}

function offloadChart(box) {
  const share = (p) => p.from_peers / (p.from_peers + p.from_origin);
  return new TimeChart(box, {
    height: 112,
    rows: 2,
    unit: 1,
    maximum: () => 1,
    label: (value) => (value > 1 ? null : `${Math.round(value * 100)} %`),
    paint(svg, series, x, y) {
      // A step without traffic has no offload: the line is interrupted, not zero.
      let run = [];
      const end = () => {
        if (run.length > 1) {
          const [first, last] = [run[0], run.at(-1)];
          svg.append(
            draw("path", { class: "under", d: `${path([...run, [last[0], y(0)], [first[0], y(0)]])}Z` }),
            draw("path", { class: "line", d: path(run) }),
          );
        } else if (run.length) svg.append(draw("circle", { class: "dotmark", cx: run[0][0], cy: run[0][1], r: 2.5 }));
        run = [];
      };
      for (const point of series) {
        if (point.from_peers + point.from_origin) run.push([x(point.t), y(share(point))]);
        else end();
      }
      end();
    },
    describe: () => "Offload over time",
  });
}

/** The start-up histogram with its median and 95th percentile. */
function startupChart(box, histogram, p50, p95) {
  const width = Math.max(280, box.clientWidth);
  const height = 190;
  const bottom = height - 24;
  const bounds = Object.keys(histogram).filter((name) => name !== "inf").map(Number).sort((a, b) => a - b);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
  const low = Math.log(40);
  const high = Math.log(Math.max(1200, ...bounds) * 1.05);
  const x = (ms) => 4 + ((Math.log(Math.max(40, ms)) - low) / (high - low)) * (width - 8);
  const top = Math.max(1, ...bounds.map((b) => histogram[b]));
  for (const ms of [50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000]) {
    if (x(ms) > width - 10) break;
    svg.append(draw("text", { class: "axis", x: x(ms), y: height - 5, "text-anchor": "middle" }, millis(ms).replace(".0 s", " s")));
  }
  svg.append(draw("line", { class: "grid", x1: 0, x2: width, y1: bottom, y2: bottom }));
  for (const bound of bounds) {
    const below = STARTUP_BOUNDS.filter((b) => b < bound).at(-1) ?? 40;
    const tall = (histogram[bound] / top) * (bottom - 46);
    const bar = draw("rect", {
      class: "bar peers", x: x(below) + 1, width: Math.max(1, x(bound) - x(below) - 2), y: bottom - tall, height: tall, rx: 2,
    });
    const lines = [`${millis(below === 40 ? 0 : below)} to ${millis(bound)}`, `${count(histogram[bound])} starts`];
    bar.addEventListener("pointermove", (event) => tip.show(event, lines));
    bar.addEventListener("pointerleave", tip.hide);
    svg.append(bar);
  }
  const close = p50 !== null && x(p95) - x(p50) < 90;
  for (const [name, value, row] of [["p50", p50, 0], ["p95", p95, close ? 15 : 0]]) {
    if (value === null) continue;
    const at = x(value);
    const end = at > width - 90;
    svg.append(
      draw("line", { class: "mark", x1: at, x2: at, y1: 12 + row, y2: bottom }),
      draw("text", { class: "mark-text halo", x: at + (end ? -5 : 5), y: 20 + row, "text-anchor": end ? "end" : "start" }, `${name} ${millis(value)}`),
    );
  }
  svg.setAttribute("aria-label", `Start-up time: median ${millis(p50)}, 95th percentile ${millis(p95)}`);
  box.replaceChildren(svg);
}

// As STARTUP_BOUNDS_MS in p2pcdn/stats/fields.py.
const STARTUP_BOUNDS = [
  50, 100, 150, 200, 300, 400, 500, 650, 800, 1000, 1300, 1600, 2000, 2500, 3000, 4000, 5000, 7000, 10000, 15000, 30000,
];

/** The share of the peers as a ring. */
function ring(part) {
  const r = 32;
  const round = 2 * Math.PI * r;
  const svg = draw("svg", { viewBox: "0 0 76 76", "aria-hidden": "true" });
  const common = { cx: 38, cy: 38, r, fill: "none", "stroke-width": 9 };
  svg.append(draw("circle", { class: "track", ...common }));
  if (part) {
    const dash = `${Math.max(0.1, part * round - (part < 0.98 ? 4 : 0))} ${round}`;
    svg.append(draw("circle", { class: "arc", ...common, "stroke-dasharray": dash, transform: "rotate(-90 38 38)" }));
  }
  return svg;
}
