import { describe, expect, it } from "vitest";
import { part } from "../../src/loader/range";

const SIZE = 1000;
const ask = (range: string | null) => part(range, SIZE, "video/mp4");

describe("a Range header", () => {
  it.each([
    ["bytes=0-", 0, 1000],
    ["bytes=0-0", 0, 1],
    ["bytes=100-199", 100, 200],
    ["bytes=999-", 999, 1000],
    ["bytes=990-5000", 990, 1000],
    ["bytes=-1", 999, 1000],
    ["bytes=-5000", 0, 1000],
    ["Bytes = 5 - 6", 5, 7],
  ])("%s gives exactly the bytes that RFC 9110 says", (range, start, end) => {
    const found = ask(range);
    expect(found).toMatchObject({ status: 206, start, end });
    expect(found?.headers).toEqual({
      "Content-Type": "video/mp4",
      "Accept-Ranges": "bytes",
      "Content-Length": String(end - start),
      "Content-Range": `bytes ${String(start)}-${String(end - 1)}/1000`,
    });
  });

  it.each(["bytes=1000-", "bytes=5000-6000", "bytes=-0"])("%s cannot be satisfied", (range) => {
    expect(ask(range)).toMatchObject({ status: 416, headers: { "Content-Range": "bytes */1000" } });
  });

  it.each([null, "", "bytes=-", "bytes=5-2", "bytes=a-b", "items=0-5", "bytes=1-2-3"])(
    "%s is no range, so the whole resource is the answer",
    (range) => {
      const found = ask(range);
      expect(found).toMatchObject({ status: 200, start: 0, end: SIZE });
      expect(found?.headers["Content-Length"]).toBe("1000");
      expect(found?.headers).not.toHaveProperty("Content-Range");
    },
  );

  it("of several parts is left to the origin", () => {
    expect(ask("bytes=0-1,5-6")).toBeNull();
  });

  it("against an empty resource is never a broken 206", () => {
    expect(part("bytes=0-", 0, "video/mp4")?.status).toBe(416);
    expect(part(null, 0, "video/mp4")).toMatchObject({ status: 200, start: 0, end: 0 });
  });
});
