/** Visitors' lines: rates, latencies, queues, and who can reach whom. */
import type { Clock } from "./clock";

/**
 * How a visitor's router treats what comes in (RFC 4787): `open` and `cone` ones are reached by
 * who was sent to (hole punching), a `symmetric` one uses another port for everybody, which a
 * partner that is `symmetric`, too, or filters by port (`port`) never learns.
 */
export type Nat = "cone" | "port" | "symmetric";

/** A visitor's line; bytes per second, seconds. */
export interface Line {
  readonly up: number;
  readonly down: number;
  readonly latency: number;
  readonly nat: Nat;
  /** A cellular one: its visitor uploads nothing. */
  readonly cellular: boolean;
  /** Gone without a word: nothing comes, nothing goes. */
  dead: boolean;
  upFree: number;
  downFree: number;
}

export const line = (
  up: number,
  down: number,
  latency: number,
  nat: Nat = "cone",
  cellular = false,
): Line => ({ up, down, latency, nat, cellular, dead: false, upFree: 0, downFree: 0 });

/** Whether a connection between the two comes about without a relay. */
export function reach(a: Line, b: Line): boolean {
  const hard = (one: Line, other: Line): boolean => one.nat === "symmetric" && other.nat !== "cone";
  return !hard(a, b) && !hard(b, a);
}

/** Puts bytes on the first line: when they have left it. */
export function leave(clock: Clock, from: Line, bytes: number): number {
  return (from.upFree = Math.max(clock.now, from.upFree) + bytes / from.up);
}

/** Bytes have come to the line's far end: hands them over, after those that came before. */
export function arrive(clock: Clock, to: Line, bytes: number, take: () => void): void {
  const at = to.downFree;
  to.downFree = Math.max(clock.now, at) + bytes / to.down;
  if (at <= clock.now) take();
  else clock.at(at, take);
}
