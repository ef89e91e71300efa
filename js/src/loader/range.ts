/** No more of the network's bytes than that are held and passed in one answer. */
const MOST_PASSED = 4 * 1024 * 1024;

/** Which bytes [start, end) of a resource a request is for, and what to answer it with. */
export interface Part {
  readonly status: 200 | 206 | 416;
  readonly start: number;
  readonly end: number;
  readonly headers: Record<string, string>;
}

/**
 * A `Range` header against a resource (RFC 9110, section 14).
 *
 * Closed, open-ended and suffix ranges; a header that is not valid is ignored, as section 14.2
 * demands. Several ranges give null: they are the origin's business.
 */
export function part(range: string | null, size: number, type: string): Part | null {
  const headers: Record<string, string> = { "Content-Type": type, "Accept-Ranges": "bytes" };
  const match = /^\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*$/i.exec(range ?? "");
  if (range?.includes(",")) return null;
  const [, first = "", last = ""] = match ?? [];
  let start = 0;
  let end = size;
  if (first) {
    start = Number(first);
    if (last) end = Math.min(Number(last) + 1, size);
  } else if (last) {
    start = Math.max(0, size - Number(last));
  }
  const valid = match && (first ? !last || Number(last) >= start : last);
  let status: Part["status"] = 206;
  if (!valid) {
    status = 200;
    start = 0;
    end = size;
  } else if (start >= size) {
    status = 416;
    start = end = 0;
  }
  const bytes = status === 416 ? "*" : `${String(start)}-${String(end - 1)}`;
  if (valid) headers["Content-Range"] = `bytes ${bytes}/${String(size)}`;
  headers["Content-Length"] = String(end - start);
  return { status, start, end, headers };
}

/** A range of which a part can be passed: open, or not too long. */
export const passable = (range: string | null): boolean => passing(range, 1) !== null;

/** First and last byte of a part of the network's bytes; null where the range allows none. */
export function passing(range: string | null, bytes: number): [string, string] | null {
  const [, first = "", last = ""] = /^bytes=(\d+)-(\d*)$/.exec(range ?? "") ?? [];
  if (first === "" || Number(last) - Number(first) >= MOST_PASSED) return null;
  return [first, last === "" ? String(Number(first) + bytes - 1) : last];
}
