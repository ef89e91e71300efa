/** Line charts as SVG, readable on light and dark pages: they bring their own ground. */

export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [number, number])[];
  readonly dashed?: boolean;
}

export interface Chart {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
}

export interface Axis {
  readonly label: string;
  readonly ticks: readonly number[];
  readonly log?: boolean;
  show?(value: number): string;
}

const [WIDTH, HEIGHT] = [640, 340];
const [LEFT, RIGHT, TOP, BOTTOM] = [58, 150, 40, 48];

const escape = (text: string): string =>
  text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** A chart of at most five series. */
export function svg({ title, x, y, series }: Chart): string {
  const place = (axis: Axis, from: number, to: number): ((value: number) => number) => {
    const scale = axis.log ? Math.log10 : Number;
    const low = scale(axis.ticks[0] ?? 0);
    const high = scale(axis.ticks[axis.ticks.length - 1] ?? 1);
    return (value) => from + ((scale(value) - low) / (high - low)) * (to - from);
  };
  const px = place(x, LEFT, WIDTH - RIGHT);
  const py = place(y, HEIGHT - BOTTOM, TOP);
  const at = (value: number): string => value.toFixed(1);
  const show = (axis: Axis, value: number): string =>
    escape(axis.show?.(value) ?? value.toLocaleString("en"));
  const out: string[] = [];
  for (const tick of x.ticks) {
    const where = at(px(tick));
    out.push(
      `<path class="grid" d="M${where} ${at(TOP)}V${at(HEIGHT - BOTTOM)}"/>`,
      `<text x="${where}" y="${at(HEIGHT - BOTTOM + 16)}" text-anchor="middle">${show(x, tick)}</text>`,
    );
  }
  for (const tick of y.ticks) {
    const where = at(py(tick));
    out.push(
      `<path class="grid" d="M${at(LEFT)} ${where}H${at(WIDTH - RIGHT)}"/>`,
      `<text x="${at(LEFT - 6)}" y="${at(py(tick) + 4)}" text-anchor="end">${show(y, tick)}</text>`,
    );
  }
  // Names beside the lines' ends, pushed apart where they would cover each other.
  const ends = series.map((s, n) => ({ n, y: py(s.points[s.points.length - 1]?.[1] ?? 0) }));
  ends.sort((a, b) => a.y - b.y);
  for (let i = 1; i < ends.length; i++) {
    const [above, end] = [ends[i - 1], ends[i]];
    if (above && end) end.y = Math.max(end.y, above.y + 15);
  }
  series.forEach(({ name, points, dashed }, n) => {
    const kind = `s${String(n)}${dashed ? " dashed" : ""}`;
    const path = points.map(([a, b], i) => `${i ? "L" : "M"}${at(px(a))} ${at(py(b))}`).join("");
    out.push(`<path class="line ${kind}" d="${path}"/>`);
    if (!dashed)
      for (const [a, b] of points)
        out.push(`<circle class="dot ${kind}" cx="${at(px(a))}" cy="${at(py(b))}" r="3"/>`);
    const label = ends.find((end) => end.n === n)?.y ?? 0;
    out.push(
      `<text class="name ${kind}" x="${at(WIDTH - RIGHT + 10)}" y="${at(label + 4)}">${escape(name)}</text>`,
    );
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${String(WIDTH)} ${String(HEIGHT)}" role="img" aria-label="${escape(title)}">
<style>
text{font:12px system-ui,sans-serif;fill:#33373d}.title{font-weight:600;font-size:14px}.name{font-weight:600}
.ground{fill:#fff}.grid{stroke:#d9dce1;stroke-width:1}.line{fill:none;stroke-width:2.2}.dashed{stroke-dasharray:5 4}
.line.s0{stroke:#1f5fbf}.line.s1{stroke:#c2410c}.line.s2{stroke:#15803d}.line.s3{stroke:#7e22ce}.line.s4{stroke:#6b7280}
.dot.s0,.name.s0{fill:#1f5fbf}.dot.s1,.name.s1{fill:#c2410c}.dot.s2,.name.s2{fill:#15803d}.dot.s3,.name.s3{fill:#7e22ce}.dot.s4,.name.s4{fill:#6b7280}
@media(prefers-color-scheme:dark){text{fill:#d5d9df}.ground{fill:#1b1e24}.grid{stroke:#3a3f48}
.line.s0{stroke:#7cb0ff}.line.s1{stroke:#ff9d66}.line.s2{stroke:#5fd38a}.line.s3{stroke:#cf9bff}.line.s4{stroke:#a3abb8}
.dot.s0,.name.s0{fill:#7cb0ff}.dot.s1,.name.s1{fill:#ff9d66}.dot.s2,.name.s2{fill:#5fd38a}.dot.s3,.name.s3{fill:#cf9bff}.dot.s4,.name.s4{fill:#a3abb8}}
</style>
<rect class="ground" width="100%" height="100%" rx="8"/>
<text class="title" x="${at(LEFT)}" y="22">${escape(title)}</text>
${out.join("\n")}
<text x="${at((LEFT + WIDTH - RIGHT) / 2)}" y="${at(HEIGHT - 10)}" text-anchor="middle">${escape(x.label)}</text>
<text x="14" y="${at((TOP + HEIGHT - BOTTOM) / 2)}" text-anchor="middle" transform="rotate(-90 14 ${at((TOP + HEIGHT - BOTTOM) / 2)})">${escape(y.label)}</text>
</svg>
`;
}
