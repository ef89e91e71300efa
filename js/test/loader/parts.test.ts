/** Players are plain objects here; real ones: tests/browser/test_fallbacks.py. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Parts } from "../../src/loader/parts";

const URL_ = "http://site/a.mp4";
const KIB = 1024;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

interface State {
  readyState: number;
  paused: boolean;
  currentTime: number;
  playbackRate: number;
  ahead: number;
  began: boolean;
}

/** A player that plays with so many seconds in hand. */
function player(state: Partial<State> = {}): HTMLMediaElement {
  const usual = { readyState: 4, paused: false, currentTime: 1, playbackRate: 1 };
  const all: typeof usual & Partial<State> = { ...usual, ...state };
  const { ahead = 20, began = true, currentTime } = all;
  return {
    ...all,
    played: { length: began ? 1 : 0 },
    buffered: { length: 1, start: () => 0, end: () => currentTime + ahead },
  } as unknown as HTMLMediaElement;
}

const never = new Promise<null>(() => undefined);

/** What a request is answered within `ms`, or "waits". */
async function answer(
  parts: Parts,
  ms: number,
  content: Promise<unknown> = never,
  signal = new AbortController().signal,
): Promise<unknown> {
  let found: unknown = "waits";
  void parts.wait(URL_, content, signal).then((what) => (found = what));
  await vi.advanceTimersByTimeAsync(ms);
  return found;
}

const of = (...players: HTMLMediaElement[]): Parts => new Parts(() => players);

it("what the content is goes before all else", async () => {
  const starved = of(player({ readyState: 2 }));
  expect(await answer(starved, 60, Promise.resolve("content"))).toBe("content");
  expect(await answer(starved, 60, Promise.resolve(null))).toBeNull();
  expect(starved.has(URL_)).toBe(false);
});

it("a player with enough in hand waits, and gets nothing for half a minute", async () => {
  expect(await answer(of(player()), 20_000)).toBe("waits");
  expect(await answer(of(player({ paused: true })), 20_000)).toBe("waits");
});

it.each<[string, Partial<State>]>([
  ["has no frame yet", { readyState: 1, began: false }],
  ["has a second left", { ahead: 0.9 }],
  ["plays fast", { ahead: 3, playbackRate: 4 }],
  [
    "was never played and may want to hear that it can play through",
    { readyState: 3, paused: true, began: false },
  ],
])("a player that %s gets a part after a moment", async (_, state) => {
  expect(await answer(of(player(state)), 200)).toBe("waits");
  const parts = of(player(state));
  expect(await answer(parts, 400)).toBe(192 * KIB);
  expect(parts.has(URL_)).toBe(true);
});

it("one that plays and has next to nothing does not wait for the moment", async () => {
  expect(await answer(of(player({ ahead: 0.2 })), 60)).toBe(192 * KIB);
});

it("one whose part was too small gets twice as much, at once, up to 3 MiB", async () => {
  const parts = of(player({ readyState: 1, began: false }));
  const given = [await answer(parts, 400)];
  for (let i = 0; i < 6; i++) given.push(await answer(parts, 60));
  expect(given.map((bytes) => Number(bytes) / KIB / 192)).toEqual([1, 2, 4, 8, 16, 16, 16]);
});

it("of two players the one that needs bytes counts", async () => {
  const idle = player({ paused: true });
  expect(await answer(of(idle, player({ ahead: 0.1 })), 60)).toBe(192 * KIB);
});

it("the longer it lasts the more a player is given to have in hand", async () => {
  const parts = of(player({ ahead: 4 }));
  expect(await answer(of(player({ ahead: 4 })), 1000)).toBe("waits");
  expect(await answer(parts, 8000)).toBe(192 * KIB);
});

it("nobody is answered who does not wait any more", async () => {
  expect(await answer(of(), 60)).toBeUndefined();
  const gone = new AbortController();
  gone.abort();
  const parts = of(player({ readyState: 1 }));
  expect(await answer(parts, 60, never, gone.signal)).toBeUndefined();
  expect(parts.has(URL_)).toBe(false);
});
