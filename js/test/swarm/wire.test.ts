import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decode, encode, isPeerId, WireError, type Message } from "../../src/swarm/wire";

interface Vectors {
  messages: { name: string; hex: string; message: Record<string, unknown> }[];
  ignored: { name: string; hex: string }[];
  malformed: { name: string; hex: string }[];
}

const path = new URL("../../../tests/vectors/wire.json", import.meta.url);
const vectors = JSON.parse(readFileSync(path, "utf8")) as Vectors;

const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (b: Uint8Array): string => Buffer.from(b).toString("hex");
const NAMES = "HELLO JOIN HAVE REQUEST DATA REJECT CANCEL LEAVE PEERS PING PONG UNHAVE CLAIM".split(
  " ",
);

/** The vectors' form of a message: names for types, hex for bytes. */
function plain(message: Message): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(message).map(([key, value]: [string, unknown]) => [
      key,
      key === "type" ? NAMES[Number(value) - 1] : value instanceof Uint8Array ? hex(value) : value,
    ]),
  );
}

function message(plainForm: Record<string, unknown>): Message {
  const { type, held, bytes: data } = plainForm;
  return {
    ...plainForm,
    type: NAMES.indexOf(String(type)) + 1,
    ...(typeof held === "string" && { held: bytes(held) }),
    ...(typeof data === "string" && { bytes: bytes(data) }),
  } as unknown as Message;
}

describe("the shared vectors", () => {
  test.each(vectors.messages)("$name is read as the Python peer reads it", (v) => {
    const read = decode(bytes(v.hex));
    expect(read && plain(read)).toEqual(v.message);
  });
  test.each(vectors.messages)("$name is written as the Python peer writes it", (v) => {
    expect(hex(encode(message(v.message)))).toBe(v.hex);
  });
  test.each(vectors.ignored)("$name does not end a link", (v) => {
    expect(decode(bytes(v.hex))).toBeNull();
  });
  test.each(vectors.malformed)("$name ends a link", (v) => {
    expect(() => decode(bytes(v.hex))).toThrow(WireError);
  });
});

/** A small generator with a seed: a failure can be run again. */
export function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

test("random bytes are read, ignored or refused, never anything else", () => {
  const random = generator(1);
  let good = 0;
  for (let i = 0; i < 20_000; i++) {
    const frame = new Uint8Array(Math.floor(random() * 40)).map(() => random() * 256);
    if (random() < 0.8 && frame.length) frame[0] = 1 + random() * 14;
    try {
      const read = decode(frame);
      if (read) {
        good++;
        expect(decode(encode(read))).toEqual(read);
      }
    } catch (error) {
      expect(error).toBeInstanceOf(WireError);
    }
  }
  expect(good).toBeGreaterThan(500);
});

test("a view into a larger buffer is read from its own start", () => {
  const framed = new Uint8Array([9, 9, 7, 0, 0, 0, 5, 9]);
  expect(decode(framed.subarray(2, 7))).toEqual({ type: 7, rid: 5 });
});

test("ids that could break out of a message or a page are refused", () => {
  expect(isPeerId("0f3a9c")).toBe(true);
  for (const id of ["", " a", "a ", "a/b", "<b>", "é", "a".repeat(65)]) {
    expect(isPeerId(id), id).toBe(false);
  }
});
