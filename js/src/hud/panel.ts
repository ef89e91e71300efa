import type { ContentStats } from "../engine";
import type { Api, LoaderStats } from "../loader/start";
import { drawMap, drawRates, SPAN, type Rates } from "./graph";
import { STYLE } from "./style";
import { bytes, Missed, topCause, verdict, watched } from "./words";

const FOLDED_KEY = "p2pcdn-hud";
/** "Now" in the panel's words. */
const RECENT_S = 5;

/** The panel: reads `stats()` once a second, knows nothing else of the loader. */
export class Panel {
  readonly #api: Api;
  readonly #host = document.createElement("p2pcdn-hud");
  readonly #section = element("section", { role: "complementary", "aria-label": "p2pcdn" });
  readonly #offload = element("span");
  readonly #words = element("p", { "aria-live": "polite" });
  readonly #graph = element("canvas", { class: "graph", "aria-hidden": "true" });
  readonly #numbers = element("dl");
  readonly #contents = element("div");
  readonly #samples: Rates[] = [];
  readonly #missed = new Missed();
  #last: Rates | undefined;

  constructor(api: Api) {
    this.#api = api;
    const root = this.#host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const title = element("b");
    title.textContent = "p2pcdn";
    const head = element("header", { role: "button", tabindex: "0" });
    head.append(element("i"), title, this.#offload);
    const main = element("main");
    main.append(this.#words, this.#graph, this.#numbers, this.#contents);
    this.#section.append(head, main);
    root.append(this.#section);
    const fold = (folded: boolean): void => {
      this.#section.toggleAttribute("data-folded", folded);
      head.setAttribute("aria-expanded", String(!folded));
      remember(folded);
    };
    head.addEventListener("click", () => {
      fold(!this.#section.hasAttribute("data-folded"));
    });
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        head.click();
      }
    });
    fold(remembered());
  }

  show(): void {
    document.body.append(this.#host);
    this.#update();
    setInterval(() => {
      if (!document.hidden) this.#update();
    }, 1000);
  }

  #update(): void {
    const stats = this.#api.stats();
    const contents = stats.engine?.contents ?? [];
    const sum = (key: "fromPeers" | "fromOrigin" | "fromCache" | "uploaded"): number =>
      contents.reduce((total, content) => total + content[key], 0);
    const total = { peers: sum("fromPeers"), origin: sum("fromOrigin"), cache: sum("fromCache") };
    const since = this.#last ?? total;
    this.#last = total;
    this.#samples.push({
      peers: Math.max(0, total.peers - since.peers),
      origin: Math.max(0, total.origin - since.origin),
      cache: Math.max(0, total.cache - since.cache),
    });
    this.#samples.splice(0, this.#samples.length - SPAN);

    const receiving = this.#samples.slice(-RECENT_S).some((sample) => sample.peers > 0);
    const { state, words } = verdict(
      stats,
      receiving,
      this.#missed.after(stats.engine?.peers ?? []),
    );
    this.#section.dataset.state = state;
    if (this.#words.textContent !== words) this.#words.textContent = words;
    const all = total.peers + total.origin + total.cache;
    this.#offload.textContent = all ? `${String(Math.round((100 * total.peers) / all))} %` : "";
    this.#offload.title = "offload: bytes from other visitors, of all bytes";
    if (this.#section.hasAttribute("data-folded")) return;

    drawRates(this.#graph, this.#samples);
    const peers = stats.engine?.peers ?? [];
    const open = peers.filter((peer) => peer.state === "open");
    const rtts = open.flatMap(({ rttMs }) => (rttMs === null ? [] : [Math.round(rttMs)]));
    const near = rtts.length ? ` (${String(Math.min(...rtts))} ms)` : "";
    const causes: Record<string, number> = {};
    for (const content of contents) {
      for (const [cause, count] of Object.entries(content.causes)) {
        causes[cause] = (causes[cause] ?? 0) + count;
      }
    }
    const rejected = contents.reduce((count, content) => count + content.rejected, 0);
    const transport = { websocket: "WebSocket", mailbox: "mailbox (HTTP)", none: "none" };
    rows(this.#numbers, [
      ["Visitors connected", `${String(open.length)}${near}`],
      ["From visitors", bytes(total.peers), "peers"],
      ["Had already", total.cache ? bytes(total.cache) : "", "cache"],
      ["From the site", bytes(total.origin), "origin"],
      ["… mostly", topCause(causes)],
      ["Passed on", bytes(sum("uploaded"))],
      ["Wrong bytes refused", rejected ? String(rejected) : ""],
      ["Coordinator", transport[stats.engine?.transport ?? "none"]],
    ]);
    this.#maps(stats);
  }

  #maps(stats: LoaderStats): void {
    const contents: readonly ContentStats[] = stats.engine?.contents ?? [];
    while (this.#contents.children.length > contents.length) this.#contents.lastChild?.remove();
    contents.forEach((content, i) => {
      let box = this.#contents.children[i];
      if (!box) {
        box = element("div");
        box.append(element("h2"), element("canvas", { class: "map", "aria-hidden": "true" }));
        this.#contents.append(box);
      }
      const [title, canvas] = box.children;
      if (!title || !(canvas instanceof HTMLCanvasElement)) return;
      const name = decoded(content.url.split(/[?#]/)[0]?.split("/").pop() ?? "");
      const before = watched(stats, content) ? "" : " · from before";
      const held = `${String(content.held)} of ${String(content.segments)} segments`;
      title.textContent = `${name} · ${held}${before}`;
      const { map } = content as { map?: ArrayLike<number> };
      drawMap(canvas, content.segments, content.held, map);
    });
  }
}

function rows(list: Element, lines: (readonly [string, string, string?])[]): void {
  const shown = lines.filter(([, value]) => value !== "");
  const cells = shown.flatMap(([name, value, colour]) => {
    const term = element("dt", colour ? { class: `key ${colour}` } : {});
    term.textContent = name;
    const text = element("dd");
    text.textContent = value;
    return [term, text];
  });
  list.replaceChildren(...cells);
}

function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Record<string, string> = {},
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

function remembered(): boolean {
  try {
    return sessionStorage.getItem(FOLDED_KEY) === "folded";
  } catch {
    return false;
  }
}

function remember(folded: boolean): void {
  try {
    sessionStorage.setItem(FOLDED_KEY, folded ? "folded" : "open");
  } catch {
    // Without storage it is unfolded again on the next page.
  }
}
