import type { LoaderConfig } from "../../src/config";
import { ORIGIN_MARK, type Content, type Engine } from "../../src/engine";
import type { EngineStart } from "../../src/loader/start";

/**
 * A real engine without a swarm: manifest and bytes come from the origin. For tests of the page
 * side alone.
 */
export function createEngine(_config: LoaderConfig, base: URL, early?: EngineStart): Engine {
  const { fetch } = early ?? globalThis;
  const open = new Map<string, Content>();
  const asked = new Map<string, Promise<Content | null>>();
  return {
    content(url) {
      const there = asked.get(url) ?? ask(url);
      asked.set(url, there);
      return there;
    },
    known: (url) => open.get(url) ?? null,
    stats: () => ({
      id: "test",
      transport: "none",
      peers: [],
      contents: [...open.values()].map((content) => content.stats()),
    }),
    close: () => {
      open.clear();
      asked.clear();
    },
  };

  async function ask(url: string): Promise<Content | null> {
    const { pathname, search } = new URL(url);
    const question = new URL("manifest", base);
    question.searchParams.set("url", pathname + search);
    const response = await fetch(question).catch(() => null);
    if (response?.status !== 200) return null;
    const manifest = (await response.json()) as { key: string; size: number; type: string };
    const content = originContent(url, manifest, fetch);
    open.set(url, content);
    return content;
  }
}

function originContent(
  url: string,
  { key, size, type }: { key: string; size: number; type: string },
  fetch: typeof globalThis.fetch,
): Content {
  let fromOrigin = 0;
  const players = new Set<unknown>();
  return {
    url,
    key,
    size,
    type,
    async *read(start, end, signal) {
      const response = await fetch(url + ORIGIN_MARK, {
        headers: { Range: `bytes=${String(start)}-${String(end - 1)}`, "X-Test-Engine": "1" },
        signal,
      });
      if (response.status !== 206 || !response.body) throw new Error(String(response.status));
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        fromOrigin += value.length;
        // A test's way to ask for the fault that must not be: bytes that are not the file's.
        yield "corrupt" in globalThis ? value.fill(0x55) : value;
      }
    },
    attach(playback) {
      players.add(playback);
      return () => players.delete(playback);
    },
    stats: () => ({
      url,
      key,
      size,
      segments: Math.ceil(size / 131072),
      held: 0,
      peers: players.size,
      fromPeers: 0,
      fromOrigin,
      fromCache: 0,
      uploaded: 0,
      rejected: 0,
      stalls: 0,
      causes: {},
    }),
  };
}
