// What is asked, how often, and what goes where on the page.

const RANGES = [["1h", "1 h"], ["24h", "24 h"], ["7d", "7 d"], ["30d", "30 d"], ["all", "All"]];
const TOKEN = "p2pcdn.token";
const PRICE = "p2pcdn.price";

const state = { range: "24h", sort: "delivered", data: null, at: 0, price: null, token: null };

/** Storage may be forbidden (private windows, blocked cookies). */
const stored = {
  get(area, name) {
    try {
      return area().getItem(name);
    } catch {
      return null;
    }
  },
  set(area, name, value) {
    try {
      area().setItem(name, value);
    } catch {
      // Then it is asked for again after a reload.
    }
  },
};
const session = () => sessionStorage;
const local = () => localStorage;

function takeToken() {
  const url = new URL(location.href);
  const given = url.searchParams.get("token");
  if (given !== null) {
    // Out of the address bar, so that it is not in screenshots, history and bookmarks.
    stored.set(session, TOKEN, given);
    if (stored.get(session, TOKEN) === given) {
      url.searchParams.delete("token");
      history.replaceState(null, "", url);
    }
  }
  return given ?? stored.get(session, TOKEN);
}

async function load() {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  const answer = await fetch(`stats?since=${state.range}&top=200`, { headers, cache: "no-store" });
  if (answer.status === 401 || answer.status === 429) {
    const { message } = await answer.json().catch(() => ({ message: "" }));
    throw Object.assign(new Error(message), { ask: true });
  }
  if (!answer.ok) {
    const { message } = await answer.json().catch(() => ({ message: "" }));
    throw new Error(`${message || `The site answers ${answer.status}.`} The site itself serves on.`);
  }
  return answer.json();
}

let timer = 0;
let asked = 0;
async function refresh() {
  clearTimeout(timer);
  const mine = ++asked;
  try {
    const data = await load();
    if (mine !== asked) return;
    state.data = data;
    state.at = Date.now();
    $("ask").hidden = $("trouble").hidden = true;
    $("main").hidden = false;
    status("updated just now", false);
    render();
  } catch (error) {
    if (mine !== asked) return;
    if (error.ask) return ask(error.message);
    status(state.at ? `not updated for ${duration((Date.now() - state.at) / 1000)}` : "no numbers yet", true);
    trouble(error instanceof TypeError ? "The site does not answer." : error.message);
  }
  const often = state.range === "1h" || state.range === "24h" ? 5000 : 30000;
  timer = setTimeout(() => (document.hidden ? (state.waiting = true) : refresh()), often);
}

function status(text, bad) {
  $("state").textContent = text;
  $("state").className = bad ? "bad" : "";
}

/** In full, since the header has no room; the numbers that were shown stay. */
function trouble(why) {
  $("trouble").hidden = false;
  const what = state.data ? "The numbers below are old." : "There are no numbers to show.";
  $("trouble").replaceChildren(make("strong", {}, what), ` ${why} This page tries again by itself.`);
}

function ask(why) {
  $("main").hidden = $("trouble").hidden = true;
  $("ask").hidden = false;
  $("ask-why").textContent = state.token ? why : "Enter the site's stats_token to see them.";
  status("", true);
  $("ask-token").focus();
}

function render() {
  const { data } = state;
  $("empty").hidden = Boolean(data.totals.delivered || data.totals.views || Object.keys(data.direct).length);
  tiles(data);
  const series = covered(data);
  traffic.show(series, data.step_s);
  offload.show(series, data.step_s);
  const channels = data.live.links.length;
  $("swarm-hint").textContent = `${count(data.live.viewers)} watching, ${count(channels)} link${channels === 1 ? "" : "s"}`;
  bars("causes", data.causes, WORDS.causes, "origin", (n) => `${count(n)} segments`);
  bars("direct", data.direct, WORDS.direct, "", (n) => `${count(n)} video${n === 1 ? "" : "s"}`);
  contents(data);
  startupChart($("startup"), data.startup, data.totals.startup_p50_ms, data.totals.startup_p95_ms);
  $("startup-hint").textContent = `${count(data.totals.startups)} starts`;
  trust(data);
  swarm.show(data.live); // last: the others decide how high its card is
}

/** The series with the time that each step really covers: the last one is still going on. */
function covered({ series, step_s: step, since, until }) {
  const whole = series.length > 3 && series[0].t < since ? series.slice(1) : series;
  return whole.map((point) => {
    const seconds = Math.max(60, Math.min(step, until - point.t));
    return { ...point, seconds };
  });
}

function tiles({ totals, currency, live, since, until }) {
  const price = state.price ?? state.data.price_per_gb;
  const saved = (totals.from_peers / 1e9) * price;
  const typing = document.activeElement?.id === "price";
  if (typing) {
    // Do not take the field away from under the fingers.
    $("saved").textContent = money(saved, currency);
    return;
  }
  const input = make("input", { id: "price", type: "number", min: 0, step: 0.01, value: price, "aria-label": "Price of 10^9 bytes" });
  input.addEventListener("input", () => {
    state.price = Math.max(0, Number(input.value) || 0);
    stored.set(local, PRICE, String(state.price));
    render();
  });
  const tile = (name, value, ...rest) =>
    make("div", { class: "tile" }, make("h2", {}, name), make("b", {}, value), ...rest.map((r) => make("p", {}, ...[r].flat())));
  const first = make("div", { class: "tile first" }, ring(totals.offload),
    make("div", {}, make("h2", {}, "Offload"), make("b", {}, percent(totals.offload)), make("p", {}, `of ${bytes(totals.delivered)} delivered`)));
  const money_ = tile("Saved", money(saved, currency), [`${bytes(totals.from_peers)} at ${currency} `, input, " a GB"]);
  money_.querySelector("b").id = "saved";
  const hours = totals.watched_s / 3600;
  const span = state.range === "all" ? "in all" : `in ${duration(until - since)}`;
  $("tiles").replaceChildren(
    first,
    money_,
    tile("Watching now", count(totals.viewers_now), `${count(totals.views)} views ${span}`),
    tile("Start-up", millis(totals.startup_p50_ms), `95 % within ${millis(totals.startup_p95_ms)}`),
    tile("Stalls an hour", hours ? (totals.stalls / hours).toFixed(2) : "–", `${count(Math.round(hours))} h watched`),
  );
}

function bars(id, found, words, kind, unit) {
  const entries = Object.entries(found).sort((a, b) => b[1] - a[1]);
  const total = entries.reduce((n, [, v]) => n + v, 0);
  $(`${id}-hint`).textContent = total ? unit(total) : "";
  const rows = entries.slice(0, 6).map(([name, n]) => {
    const [label, why] = words[name] ?? [name, ""];
    return make("div", { class: "row" },
      make("span", {}, label),
      make("span", {}, percent(n / total, n / total < 0.1 ? 1 : 0)),
      make("div", { class: "meter" }, make("i", { class: kind, "width%": n / total })),
      make("span", { class: "why" }, ...prose(why)));
  });
  $(id).replaceChildren(...(rows.length ? rows : [make("p", {}, "Nothing in this time.")]));
}

const COLUMNS = [
  ["path", "Content"], ["views", "Views"], ["viewers_now", "Now"], ["delivered", "Delivered"], ["offload", "Offload"],
  ["startup_p50_ms", "Start p50"], ["startup_p95_ms", "p95"], ["stalls", "Stalls"], ["from_peers", "Saved"],
];

function contents({ contents: all, more_contents: more, currency }) {
  const price = state.price ?? state.data.price_per_gb;
  const by = state.sort;
  const sorted = [...all].sort((a, b) => (by === "path" ? a.path.localeCompare(b.path) : (b[by] ?? -1) - (a[by] ?? -1)));
  const head = COLUMNS.map(([name, label]) => {
    const button = make("button", { type: "button" }, label);
    button.addEventListener("click", () => {
      state.sort = name;
      contents(state.data);
    });
    return make("th", name === by ? { "aria-sort": "descending", scope: "col" } : { scope: "col" }, button);
  });
  const rows = sorted.slice(0, 50).map((c) => {
    const cell = (name, text) => make("td", { "data-name": name }, text);
    const share = make("div", { class: "meter" },
      make("i", { class: "peers", "width%": c.offload ?? 0 }), make("i", { class: "origin", "width%": c.offload === null ? 0 : 1 - c.offload }));
    return make("tr", {},
      make("td", { title: c.path }, c.path, ...(c.size ? [make("small", {}, `  ${bytes(c.size)}`)] : [])),
      cell("Views", count(c.views)), cell("Now", count(c.viewers_now)), cell("Delivered", bytes(c.delivered)),
      make("td", { class: "share", "data-name": "Offload" }, percent(c.offload), share),
      cell("Start p50", millis(c.startup_p50_ms)), cell("p95", millis(c.startup_p95_ms)), cell("Stalls", count(c.stalls)),
      cell("Saved", money((c.from_peers / 1e9) * price, currency)));
  });
  $("contents").replaceChildren(make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  const hidden = more + Math.max(0, all.length - 50);
  $("contents-hint").textContent = hidden ? `${count(all.length + more)} in all, the top 50 shown` : `${count(all.length)} in all`;
}

function trust({ totals, dropped, notes, transports, coordinator }) {
  const rows = [
    ["The origin sent, as counted by the site itself", bytes(totals.origin_counted)],
    ["The origin sent, as loaders report", bytes(totals.origin_reported)],
    ["From peers, confirmed by the peer that sent it", bytes(totals.from_peers)],
    ["From peers, but no peer says it sent it (not counted)", bytes(totals.unconfirmed)],
    ["Segments with a wrong hash, thrown away", count(totals.rejected)],
    ["Reports not believed", count(Object.values(dropped).reduce((a, b) => a + b, 0))],
  ];
  const views = Object.values(transports).reduce((a, b) => a + b, 0);
  if (views) rows.push(["Views that reach the coordinator by WebSocket", percent((transports.websocket ?? 0) / views, 0)]);
  if (coordinator.peers !== undefined) rows.push(["Peers at the coordinator now", count(coordinator.peers)]);
  $("trust").replaceChildren(
    ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
    ...notes.map((note) => make("p", {}, ...prose(note.text))),
    ...Object.entries(dropped).slice(0, 3).map(([why, n]) => make("p", {}, `Not believed: ${why} (${count(n)})`)),
  );
}

function ranges() {
  $("ranges").replaceChildren(
    ...RANGES.map(([range, label]) => {
      const button = make("button", { type: "button", "aria-pressed": String(range === state.range) }, label);
      button.addEventListener("click", () => {
        state.range = range;
        location.hash = range;
        ranges();
        refresh();
      });
      return button;
    }),
  );
}

const traffic = trafficChart($("traffic"));
const offload = offloadChart($("offload"));
const swarm = new Swarm($("swarm"));

state.token = takeToken();
const price = stored.get(local, PRICE);
if (price !== null && Number.isFinite(Number(price))) state.price = Number(price);
const wanted = location.hash.slice(1);
if (RANGES.some(([range]) => range === wanted)) state.range = wanted;
$("site").textContent = location.host;
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = $("ask-token").value;
  stored.set(session, TOKEN, state.token);
  refresh();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && state.waiting) {
    state.waiting = false;
    refresh();
  }
});
let resizing = 0;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => state.data && render(), 120);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => swarm.paint());
setInterval(() => {
  const ago = (Date.now() - state.at) / 1000;
  if (state.at && !$("state").classList.contains("bad") && ago > 2) status(`updated ${duration(ago)} ago`, false);
}, 1000);
ranges();
refresh();
