/** The drawings: bytes a second by source, and which segments are here. */

export interface Rates {
  readonly peers: number;
  readonly origin: number;
  readonly cache: number;
}

/** Seconds that the graph shows. */
export const SPAN = 60;

/** Stacked areas, newest at the right, the highest second as high as the canvas. */
export function drawRates(canvas: HTMLCanvasElement, samples: readonly Rates[]): void {
  const { pen, width, height } = sheet(canvas);
  const top = Math.max(65_536, ...samples.map((s) => s.peers + s.origin + s.cache)) * 1.1;
  const step = width / (SPAN - 1);
  const left = width - (samples.length - 1) * step;
  const floor = samples.map(() => 0);
  for (const source of ["peers", "cache", "origin"] as const) {
    pen.beginPath();
    samples.forEach((sample, i) => {
      pen.lineTo(left + i * step, height - (((floor[i] ?? 0) + sample[source]) / top) * height);
    });
    for (let i = samples.length - 1; i >= 0; i--) {
      pen.lineTo(left + i * step, height - ((floor[i] ?? 0) / top) * height);
    }
    pen.closePath();
    pen.fillStyle = colour(canvas, source);
    pen.fill();
    samples.forEach((sample, i) => {
      floor[i] = (floor[i] ?? 0) + sample[source];
    });
  }
}

/** Where each segment came from; an engine that does not say gets a bar of what is held. */
export function drawMap(
  canvas: HTMLCanvasElement,
  segments: number,
  held: number,
  map: ArrayLike<number> | undefined,
): void {
  const { pen, width, height } = sheet(canvas);
  const colours = ["", ...["origin", "peers", "cache"].map((name) => colour(canvas, name))];
  pen.fillStyle = colour(canvas, "line");
  pen.fillRect(0, 0, width, height);
  for (let i = 0; i < segments; i++) {
    const source = map ? (map[i] ?? 0) : i < held ? 3 : 0;
    if (!source) continue;
    pen.fillStyle = colours[source] ?? "";
    const from = Math.floor((i / segments) * width);
    // A gap between segments, where there is room for one.
    const gap = width / segments > 5 ? 1 : 0;
    const to = Math.max(from + 1, Math.floor(((i + 1) / segments) * width) - gap);
    pen.fillRect(from, 0, to - from, height);
  }
}

function sheet(canvas: HTMLCanvasElement): {
  pen: CanvasRenderingContext2D;
  width: number;
  height: number;
} {
  const pen = canvas.getContext("2d");
  if (!pen) throw new Error("no canvas");
  canvas.width = canvas.clientWidth * devicePixelRatio;
  canvas.height = canvas.clientHeight * devicePixelRatio;
  return { pen, width: canvas.width, height: canvas.height };
}

function colour(element: Element, name: string): string {
  return getComputedStyle(element).getPropertyValue(`--${name}`).trim();
}
