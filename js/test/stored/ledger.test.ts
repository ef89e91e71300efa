import { describe, expect, it } from "vitest";
import { Ledger, type About } from "../../src/stored/ledger";

const key = (n: number): string => n.toString(16).padStart(32, "0");
const about = (name: string, size = 1000, segmentBytes = 100): About => ({
  url: `https://example.org/${name}`,
  size,
  segmentBytes,
  playlists: [],
});
const DAY = 86_400_000;
const NOW = 1.7e12;

function filled(contents: number, segments: number, every = 1000): Ledger {
  const ledger = new Ledger();
  for (let c = 1; c <= contents; c++)
    for (let s = 0; s < segments; s++)
      ledger.add(key(c), about(`${String(c)}.mp4`), s, NOW + c * every);
  return ledger;
}

const numbers = (ledger: Ledger, n: number): number[] => [
  ...(ledger.contents.get(key(n))?.segments ?? []),
];

describe("what is written down", () => {
  it("comes back as it was, in the order in which it was stored", () => {
    const ledger = new Ledger();
    for (const s of [3, 4, 0, 9]) ledger.add(key(1), about("a.mp4", 950), s, NOW);
    const again = Ledger.parse(String(ledger));
    expect(again?.contents.get(key(1))).toEqual(ledger.contents.get(key(1)));
    expect(again && numbers(again, 1)).toEqual([3, 4, 0, 9]);
    expect(again?.bytes).toBe(350);
  });

  it.each([
    ["nothing", null],
    ["no JSON", "{"],
    ["another version's", "[2,[]]"],
    ["something else", '{"a":1}'],
    ["a row that is none", "[1,[null]]"],
  ])("is none where there is %s", (_, text) => {
    expect(Ledger.parse(text)).toBeNull();
  });

  it.each([
    ["a key that is none", ["x", "https://a/b", 1000, 100, NOW, NOW, [[0, 1]], []]],
    ["no size", [key(1), "https://a/b", 0, 100, NOW, NOW, [[0, 1]], []]],
    ["endless segments", [key(1), "https://a/b", 1e15, 1, NOW, NOW, [[0, 1]], []]],
    ["no time", [key(1), "https://a/b", 1000, 100, null, NOW, [[0, 1]], []]],
    ["no URL", [key(1), 7, 1000, 100, NOW, NOW, [[0, 1]], []]],
  ])("is left out where a row has %s", (_, row) => {
    expect(Ledger.parse(JSON.stringify([1, [row]]))?.contents.size).toBe(0);
  });

  it("never names segments that the content does not have", () => {
    const row = [
      key(1),
      "https://a/b",
      1000,
      100,
      NOW,
      NOW,
      [
        [-5, 8],
        [8, 1e9],
      ],
      [],
    ];
    const ledger = Ledger.parse(JSON.stringify([1, [row]]));
    expect(ledger && numbers(ledger, 1)).toEqual([0, 1, 2, 8, 9]);
  });
});

describe("what goes first", () => {
  it("is what was watched longest ago", () => {
    const ledger = filled(3, 10);
    const used = ledger.contents.get(key(1));
    if (used) used.used = NOW + 10_000;
    const gone = ledger.evict(2500, NOW + 20_000, 7 * DAY);
    expect([...gone.keys()]).toEqual([key(2)]);
    expect(ledger.bytes).toBeLessThanOrEqual(2500);
    expect(numbers(ledger, 1)).toHaveLength(10);
  });

  it("is of one content what was stored first", () => {
    const ledger = filled(1, 10);
    expect(ledger.evict(500, NOW, 7 * DAY)).toEqual(new Map([[key(1), [0, 1, 2, 3, 4, 5]]]));
    expect(numbers(ledger, 1)).toEqual([6, 7, 8, 9]);
  });

  it("counts a short last segment for what it is", () => {
    const ledger = new Ledger();
    ledger.add(key(1), about("a.mp4", 950), 9, NOW);
    expect(ledger.bytes).toBe(50);
    expect(ledger.evict(50, NOW, DAY).size).toBe(0);
  });

  it("is everything where nothing may be kept", () => {
    const ledger = filled(2, 3);
    ledger.evict(0, NOW, DAY);
    expect(ledger.contents.size).toBe(0);
  });

  it("is what was stored too long ago, however much there is room and whoever watches it", () => {
    const ledger = filled(2, 3, DAY);
    const old = ledger.contents.get(key(1));
    if (old) old.used = NOW + 9 * DAY;
    expect([...ledger.evict(1e9, NOW + 8.5 * DAY, 7 * DAY).keys()]).toEqual([key(1)]);
  });

  it("is what comes from a future that never was: a clock was wrong", () => {
    const ledger = filled(1, 3);
    expect(ledger.evict(1e9, NOW - 30 * DAY, 7 * DAY).size).toBe(1);
  });

  it("is the oldest of thousands of little contents, so that the list stays small", () => {
    const ledger = filled(2050, 1);
    ledger.evict(1e9, NOW, 7 * DAY);
    expect(ledger.contents.size).toBe(2000);
    expect(ledger.contents.has(key(50))).toBe(false);
    expect(ledger.contents.has(key(51))).toBe(true);
  });
});

it("tells a page which beginnings are there, the last watched first, and not more than a few", () => {
  const ledger = filled(60, 2);
  ledger.drop(key(60), [0]);
  const lines = ledger.hint().split("\n");
  expect(lines).toHaveLength(50);
  expect(lines[0]).toBe("https://example.org/59.mp4");
  expect(lines).not.toContain("https://example.org/60.mp4");
});
