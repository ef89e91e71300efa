import { expect, it } from "vitest";
import { readLedger, Writer, type Piece, type Rules } from "../../src/stored/writer";
import { Drawer, turns } from "./files";

const DAY = 86_400_000;
const key = (n: number): string => n.toString(16).padStart(32, "0");
const SIZE = 1000;

const rules = (more: Partial<Rules> = {}): Rules => ({
  limit: 1e6,
  maxAge: 7 * DAY,
  estimate: () => Promise.resolve({ quota: 1e9, usage: 0 }),
  date: () => 1.7e12,
  ...more,
});

function pieces(content: number, first: number, count: number): Piece[] {
  const about = { url: `https://a/${String(content)}`, size: 100 * SIZE, segmentBytes: SIZE };
  return Array.from({ length: count }, (_, i) => ({
    key: key(content),
    about: { ...about, playlists: [] },
    segment: first + i,
    bytes: new Uint8Array(SIZE).fill(content + i),
  }));
}

const NONE = new Map<string, number[]>();

/** What is listed is there, and what is there is listed. */
async function sound(files: Drawer): Promise<void> {
  const ledger = await readLedger(files);
  const listed = [...(ledger?.contents ?? [])].flatMap(([k, { segments }]) =>
    [...segments].map((s) => `${k}/${String(s)}`),
  );
  expect(files.names).toEqual(listed.sort());
}

it("stores what it is given, and says so", async () => {
  const files = new Drawer();
  const writer = new Writer(files, turns(), rules());
  const outcome = await writer.write(pieces(1, 0, 3), [], NONE);
  expect(outcome?.stored).toEqual(new Map([[key(1), [0, 1, 2]]]));
  expect(outcome?.gone.size).toBe(0);
  expect(files.entries.get(`${key(1)}/2`)).toEqual(new Uint8Array(SIZE).fill(3));
  await sound(files);
});

it("keeps under the ceiling however much comes", async () => {
  const files = new Drawer();
  const writer = new Writer(files, turns(), rules({ limit: 10 * SIZE }));
  for (let c = 1; c <= 5; c++) {
    await writer.write(pieces(c, 0, 4), [key(c)], NONE);
    expect(files.used).toBeLessThanOrEqual(10 * SIZE);
  }
  await sound(files);
  expect(files.names.every((name) => !name.startsWith(key(1)))).toBe(true);
});

it("loses nothing when several tabs write at once", async () => {
  const files = new Drawer();
  const turn = turns();
  const tabs = Array.from({ length: 5 }, () => new Writer(files, turn, rules()));
  await Promise.all(
    tabs.flatMap((tab, i) => [
      tab.write(pieces(1, 10 * i, 10), [], NONE),
      tab.write(pieces(2 + i, 0, 3), [], NONE),
    ]),
  );
  const ledger = await readLedger(files);
  expect(ledger?.contents.get(key(1))?.segments.size).toBe(50);
  expect(ledger?.contents.size).toBe(6);
  await sound(files);
});

it("holds the ceiling also when tabs write at once, and each learns what went", async () => {
  const files = new Drawer();
  const turn = turns();
  const tabs = [1, 2].map(() => new Writer(files, turn, rules({ limit: 10 * SIZE })));
  const outcomes = await Promise.all(
    tabs.map((tab, i) => tab.write(pieces(i + 1, 0, 8), [], NONE)),
  );
  expect(files.used).toBeLessThanOrEqual(10 * SIZE);
  const gone = outcomes.flatMap((o) => [...(o?.gone.values() ?? [])].flat());
  expect(files.names).toHaveLength(16 - gone.length);
  await sound(files);
});

it("takes no more than a part of what the browser has left", async () => {
  const files = new Drawer();
  const estimate = (): Promise<StorageEstimate> =>
    Promise.resolve({ quota: 100 * SIZE, usage: 90 * SIZE + files.used });
  const writer = new Writer(files, turns(), rules({ estimate }));
  for (let s = 0; s < 30; s += 2) await writer.write(pieces(1, s, 2), [], NONE);
  expect(files.used).toBeLessThanOrEqual(5 * SIZE);
  await sound(files);
});

it("gives way when the disk is full, and gives up when it stays so", async () => {
  const files = new Drawer();
  files.quota = 5 * SIZE;
  const writer = new Writer(files, turns(), rules());
  const outcome = await writer.write(pieces(1, 0, 10), [], NONE);
  expect(outcome?.stored.get(key(1))).toEqual([2, 3, 4]);
  expect(outcome?.gone.get(key(1))).toEqual([0, 1]);
  expect(outcome?.refused.get(key(1))).toEqual([5, 6, 7, 8, 9]);
  expect(files.used).toBeLessThan(5 * SIZE);
  await sound(files);
  expect(writer.full).toBe(false);
  files.quota = 0;
  for (let c = 2; c < 8; c++) await writer.write(pieces(c, 0, 2), [], NONE);
  expect(writer.full).toBe(true);
  expect(files.names).toEqual([]);
  await sound(files);
});

it.each([0, 1, 2, 3])("leaves nothing unlisted when the page ends at write %i", async (writes) => {
  const files = new Drawer();
  await new Writer(files, turns(), rules()).write(pieces(1, 0, 2), [], NONE);
  files.dies = writes;
  void new Writer(files, turns(), rules()).write(pieces(2, 0, 5), [], NONE);
  await new Promise((done) => setTimeout(done, 20));
  files.dies = Infinity;
  const ledger = await readLedger(files);
  for (const name of files.names) {
    const [content = "", segment] = name.split("/");
    expect(ledger?.has(content, Number(segment))).toBe(true);
  }
  expect(ledger?.contents.get(key(1))?.segments.size).toBe(2);
});

it("begins anew where the list is lost: bytes that nothing names would stay for ever", async () => {
  const files = new Drawer();
  const writer = new Writer(files, turns(), rules());
  await writer.write(pieces(1, 0, 5), [], NONE);
  files.entries.set("index", new TextEncoder().encode("[1,[["));
  await writer.write(pieces(2, 0, 1), [], NONE);
  expect(files.names).toEqual([`${key(2)}/0`]);
  await sound(files);
});

it("takes out what was spoilt, and takes the right bytes in its place", async () => {
  const files = new Drawer();
  const writer = new Writer(files, turns(), rules());
  await writer.write(pieces(1, 0, 3), [], NONE);
  const out = await writer.write([], [], new Map([[key(1), [1]]]));
  expect(out?.gone).toEqual(new Map([[key(1), [1]]]));
  expect(files.names).toEqual([`${key(1)}/0`, `${key(1)}/2`]);
  const back = await writer.write(pieces(1, 2, 1), [], new Map([[key(1), [2]]]));
  expect(back?.gone.size).toBe(0);
  expect(files.names).toContain(`${key(1)}/2`);
  await sound(files);
});

it("deletes what is too old before it stores anything new", async () => {
  const files = new Drawer();
  let date = 1.7e12;
  const writer = new Writer(files, turns(), rules({ date: () => date }));
  await writer.write(pieces(1, 0, 3), [], NONE);
  date += 8 * DAY;
  const outcome = await writer.write([], [key(1)], NONE);
  expect(outcome?.gone.get(key(1))).toEqual([0, 1, 2]);
  expect(files.names).toEqual([]);
});

it("does nothing when its turn does not come", async () => {
  const files = new Drawer();
  const writer = new Writer(files, () => Promise.resolve(undefined), rules());
  expect(await writer.write(pieces(1, 0, 3), [], NONE)).toBeNull();
  expect(files.entries.size).toBe(0);
});
