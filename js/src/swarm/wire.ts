/**
 * The binary messages between peers (docs/architecture.md, "Wire between peers").
 *
 * Python twin: p2pcdn/peer/wire.py. Both pass tests/vectors/wire.json. The codec knows lengths
 * and ranges of single fields; whether a segment exists is for the link to judge.
 */

export const HELLO = 1;
export const JOIN = 2;
export const HAVE = 3;
export const REQUEST = 4;
export const DATA = 5;
export const REJECT = 6;
export const CANCEL = 7;
export const LEAVE = 8;
export const PEERS = 9;
export const PING = 10;
export const PONG = 11;
export const UNHAVE = 12;
export const CLAIM = 13;

/** Reasons of a REJECT. */
export const BUSY = 1;
export const NOT_HELD = 2;
export const UNKNOWN_CONTENT = 3;
export const UPLOAD_OFF = 4;

/** Largest payload of one DATA message: no browser's message limit is met. */
export const MAX_DATA = 16384;
/** Largest message of any type. */
export const MAX_MESSAGE = 65536;
/** Most segments a content may have on the wire (its bitfield is 32 KiB then). */
export const MAX_SEGMENTS = 262144;

/** A run of segments: first, count. */
export type Run = readonly [number, number];

export type Message =
  | { type: typeof HELLO; version: number; upload: boolean; capKiB: number }
  | { type: typeof JOIN; c: number; key: string; segments: number; held: Uint8Array }
  | { type: typeof HAVE | typeof UNHAVE | typeof CLAIM; c: number; runs: Run[] }
  | {
      type: typeof REQUEST;
      c: number;
      rid: number;
      segment: number;
      offset: number;
      length: number;
    }
  | { type: typeof DATA; rid: number; offset: number; bytes: Uint8Array }
  | { type: typeof REJECT; rid: number; reason: number }
  | { type: typeof CANCEL; rid: number }
  | { type: typeof LEAVE; c: number }
  | { type: typeof PEERS; c: number; ids: string[] }
  | { type: typeof PING | typeof PONG; token: number };

/** A message that no honest peer sends; the link ends. */
export class WireError extends Error {}

/** What a peer may be called: PeerServer's id rule, at most 64 characters. */
export const isPeerId = (id: string): boolean =>
  id.length <= 64 && /^[A-Za-z0-9]+(?:[ _-][A-Za-z0-9]+)*$/.test(id);

const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

export function encode(m: Message): Uint8Array<ArrayBuffer> {
  const out: number[] = [m.type];
  let tail: Uint8Array | undefined;
  const u16 = (n: number): void => void out.push(n >>> 8, n & 255);
  const u32 = (n: number): void => {
    u16(n >>> 16);
    u16(n & 65535);
  };
  switch (m.type) {
    case HELLO:
      out.push(m.version, m.upload ? 1 : 0);
      u32(m.capKiB);
      break;
    case JOIN:
      u16(m.c);
      for (let i = 0; i < 32; i += 2) out.push(parseInt(m.key.slice(i, i + 2), 16));
      u32(m.segments);
      tail = m.held;
      break;
    case HAVE:
    case UNHAVE:
    case CLAIM:
      u16(m.c);
      m.runs.flat().forEach(u32);
      break;
    case REQUEST:
      u16(m.c);
      [m.rid, m.segment, m.offset, m.length].forEach(u32);
      break;
    case DATA:
      u32(m.rid);
      u32(m.offset);
      tail = m.bytes;
      break;
    case REJECT:
      u32(m.rid);
      out.push(m.reason);
      break;
    case CANCEL:
      u32(m.rid);
      break;
    case LEAVE:
      u16(m.c);
      break;
    case PEERS:
      u16(m.c);
      for (const id of m.ids) out.push(id.length, ...Array.from(id, (ch) => ch.charCodeAt(0)));
      break;
    default:
      u32(m.token);
  }
  const bytes = new Uint8Array(out.length + (tail?.length ?? 0));
  bytes.set(out);
  if (tail) bytes.set(tail, out.length);
  return bytes;
}

/**
 * Reads one message. An unknown type gives null (a later version may send it).
 *
 * @throws WireError for anything malformed: short, too long, out of range, trailing bytes.
 */
export function decode(bytes: Uint8Array): Message | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 1;
  const check = (fine: boolean): void => {
    if (!fine) throw new WireError("malformed message");
  };
  const skip = (n: number): number => {
    at += n;
    check(at <= bytes.length);
    return at - n;
  };
  const u8 = (): number => view.getUint8(skip(1));
  const u16 = (): number => view.getUint16(skip(2));
  const u32 = (): number => view.getUint32(skip(4));
  const take = (n: number): Uint8Array => bytes.subarray(skip(n), at);
  const read = (type: number | undefined): Message | null => {
    switch (type) {
      case HELLO:
        return { type, version: u8(), upload: (u8() & 1) === 1, capKiB: u32() };
      case JOIN: {
        const [c, key, segments] = [u16(), hex(take(16)), u32()];
        check(segments > 0 && segments <= MAX_SEGMENTS);
        const held = take(Math.ceil(segments / 8)).slice();
        // Spare bits are zero, so that one set of segments has one encoding.
        check(segments % 8 === 0 || (((held[held.length - 1] ?? 0) << (segments % 8)) & 255) === 0);
        return { type, c, key, segments, held };
      }
      case HAVE:
      case UNHAVE:
      case CLAIM: {
        const c = u16();
        const runs: Run[] = [];
        while (at < bytes.length) {
          const [first, count] = [u32(), u32()];
          check(count > 0 && first + count <= MAX_SEGMENTS);
          runs.push([first, count]);
        }
        return { type, c, runs };
      }
      case REQUEST: {
        const m = { type, c: u16(), rid: u32(), segment: u32(), offset: u32(), length: u32() };
        check(m.length > 0);
        return m;
      }
      case DATA: {
        const [rid, offset] = [u32(), u32()];
        const data = take(bytes.length - at);
        check(data.length > 0 && data.length <= MAX_DATA);
        return { type, rid, offset, bytes: data };
      }
      case REJECT: {
        const [rid, reason] = [u32(), u8()];
        check(reason > 0);
        return { type, rid, reason };
      }
      case CANCEL:
        return { type, rid: u32() };
      case LEAVE:
        return { type, c: u16() };
      case PEERS: {
        const c = u16();
        const ids: string[] = [];
        while (at < bytes.length) {
          const id = String.fromCharCode(...take(u8()));
          check(isPeerId(id));
          ids.push(id);
        }
        return { type, c, ids };
      }
      case PING:
      case PONG:
        return { type, token: u32() };
      default:
        check(type !== undefined);
        at = bytes.length;
        return null;
    }
  };
  check(bytes.length <= MAX_MESSAGE);
  const message = read(bytes[0]);
  check(at === bytes.length);
  return message;
}
