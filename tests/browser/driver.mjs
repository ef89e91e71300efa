// Drives real browsers for the Python tests: one JSON object per line in, one per line out.
//
//   -> {"id": 7, "op": "goto", "visitor": "v1", "url": "http://..."}
//   <- {"id": 7, "ok": <value>}   or   {"id": 7, "error": "<what went wrong>"}
//
// It lives as long as its stdin: a Python process that dies takes its browsers with it.

import { readFileSync } from "node:fs";
import readline from "node:readline";
import puppeteer from "puppeteer-core";

const browsers = new Map(); // name -> Browser
const visitors = new Map(); // name -> Visitor
const traces = new Map(); // name of a Browser -> Page that its trace was begun from
let counter = 0;

const CHROMIUM = [
  "--no-sandbox",
  "--no-first-run",
  "--mute-audio",
  "--autoplay-policy=no-user-gesture-required",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-default-apps",
  "--disable-sync",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--disable-gpu",
  // The address bar's list is two pages of the browser's own for every window. Nobody sees them
  // here, and each navigation keeps a core busy with them for a third of a second.
  "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup",
  // A visitor in the background is a visitor all the same.
  "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows",
];

const FIREFOX = {
  "media.autoplay.default": 0,
  "media.autoplay.blocking_policy": 0,
  "media.volume_scale": "0.0",
  "media.peerconnection.ice.loopback": true,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "browser.safebrowsing.downloads.remote.enabled": false,
  "services.settings.server": "data:,",
  "app.normandy.enabled": false,
  // Windows lie upon one another; none of them is asleep.
  "widget.windows.window_occlusion_tracking.enabled": false,
  "dom.min_background_timeout_value": 4,
  "dom.timeout.enable_budget_timer_throttling": false,
  "media.suspend-background-video.enabled": false,
};

class Visitor {
  constructor(browser, context, page) {
    Object.assign(this, { browser, context, page });
    this.console = [];
    this.errors = [];
    this.failed = [];
    const note = (where, text, url) => {
      if (where.length < 2000) where.push({ text: String(text).slice(0, 4000), url });
    };
    page.on("console", (message) => {
      const url = message.location()?.url ?? "";
      note(this.console, `${message.type()}: ${message.text()}`, url);
    });
    page.on("pageerror", (error) => note(this.errors, error?.stack ?? error, page.url()));
    page.on("error", (error) => note(this.errors, error?.stack ?? error, page.url()));
    page.on("requestfailed", (request) =>
      note(this.failed, request.failure()?.errorText ?? "failed", request.url()),
    );
  }
}

const operations = {
  async launch({ browser, args, prefs, headless }) {
    const launched = await puppeteer.launch(
      browser === "firefox"
        ? {
            browser,
            executablePath: process.env.TEST_FIREFOX,
            headless,
            args,
            extraPrefsFirefox: { ...FIREFOX, ...prefs },
            protocolTimeout: 120_000,
          }
        : {
            browser,
            executablePath: process.env.TEST_CHROMIUM,
            headless,
            pipe: true, // Chromium ends with its pipe, whatever happens to this process
            args: [...CHROMIUM, ...args],
            protocolTimeout: 120_000,
          },
    );
    const name = `b${++counter}`;
    browsers.set(name, launched);
    launched.on("disconnected", () => browsers.delete(name));
    return { name, pid: launched.process()?.pid ?? null, version: await launched.version() };
  },

  /** Traces a whole browser until `traced` (Chromium only). */
  async trace({ browser, path, categories }) {
    // A page of its own: those of visitors may die.
    const page = await browsers.get(browser).newPage();
    traces.set(browser, page);
    await page.tracing.start({ path, categories });
  },

  async traced({ browser }) {
    const page = traces.get(browser);
    traces.delete(browser);
    await page.tracing.stop();
    await page.close();
  },

  async visitor({ browser, javascript, scripts }) {
    const owner = browsers.get(browser);
    if (!owner) throw new Error(`no browser ${browser} (did it crash?)`);
    const context = await owner.createBrowserContext();
    const page = await context.newPage();
    const visitor = new Visitor(owner, context, page);
    if (!javascript) await page.setJavaScriptEnabled(false);
    for (const script of scripts) await page.evaluateOnNewDocument(script);
    const name = `v${++counter}`;
    visitors.set(name, visitor);
    return name;
  },

  /** Another page of the same visitor: cookies, caches and the service worker are shared. */
  async tab({ visitor, scripts }) {
    const { browser, context } = of(visitor);
    const page = await context.newPage();
    for (const script of scripts) await page.evaluateOnNewDocument(script);
    const name = `v${++counter}`;
    visitors.set(name, new Visitor(browser, context, page));
    return name;
  },

  async goto({ visitor, url, wait, within }) {
    const answer = await of(visitor).page.goto(url, { waitUntil: wait, timeout: within });
    return { status: answer?.status() ?? null, url: of(visitor).page.url() };
  },

  async reload({ visitor, wait, within }) {
    await of(visitor).page.reload({ waitUntil: wait, timeout: within });
  },

  async eval({ visitor, js }) {
    return await evaluate(of(visitor).page, js);
  },

  /** Polls by a timer of this process, which no browser throttles, and survives navigation. */
  async wait_for({ visitor, js, within }) {
    const { page } = of(visitor);
    const end = Date.now() + within;
    let last;
    for (;;) {
      try {
        last = await evaluate(page, js);
        if (last) return last;
      } catch (error) {
        last = String(error?.message ?? error);
        if (/SyntaxError|Target closed|Session closed|crashed/.test(last)) throw error;
      }
      if (Date.now() >= end) throw new Timeout(`last value: ${JSON.stringify(last)}`);
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
  },

  async click({ visitor, selector }) {
    await of(visitor).page.click(selector);
  },

  async screenshot({ visitor, path }) {
    await of(visitor).page.screenshot({ path });
  },

  async viewport({ visitor, width, height, dark, mobile }) {
    const { page } = of(visitor);
    await page.setViewport({ width, height, isMobile: mobile, hasTouch: mobile });
    const value = dark ? "dark" : "light";
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]);
  },

  async notes({ visitor }) {
    const { console, errors, failed } = of(visitor);
    return { console, errors, failed };
  },

  async content({ visitor }) {
    return await of(visitor).page.content();
  },

  async offline({ visitor, on }) {
    await of(visitor).page.setOfflineMode(on);
  },

  async headers({ visitor, headers }) {
    await of(visitor).page.setExtraHTTPHeaders(headers);
  },

  /** Ends idle service workers, as a browser does after about 30 s (Chromium only). */
  async stop_workers({ visitor }) {
    const session = await of(visitor).page.createCDPSession();
    await session.send("ServiceWorker.enable");
    await session.send("ServiceWorker.stopAllWorkers");
    await session.detach();
  },

  /** Memory the page's own heap holds, in bytes (Chromium only). */
  async metrics({ visitor }) {
    return await of(visitor).page.metrics();
  },

  /** A raw call of Chromium's DevTools protocol; what it changes may last as long as its session. */
  async cdp({ visitor, method, params, lasting }) {
    const session = await of(visitor).page.createCDPSession();
    try {
      return await session.send(method, params);
    } finally {
      if (!lasting) await session.detach().catch(() => {});
    }
  },

  async close({ visitor }) {
    const gone = visitors.get(visitor);
    visitors.delete(visitor);
    if (!gone) return;
    await gone.page.close().catch(() => {});
    const shared = [...visitors.values()].some((other) => other.context === gone.context);
    if (!shared) await gone.context.close().catch(() => {});
  },

  /** The renderer dies at once: no pagehide, no goodbye on any channel (Chromium only). */
  async crash({ visitor }) {
    const { page } = of(visitor);
    const session = await page.createCDPSession();
    const dead = new Promise((resolve) => page.once("error", resolve));
    session.send("Page.crash").catch(() => {}); // a dead page answers nothing
    await dead;
  },

  async quit({ browser }) {
    const owner = browsers.get(browser);
    browsers.delete(browser);
    for (const [name, visitor] of visitors) if (visitor.browser === owner) visitors.delete(name);
    await owner?.close().catch(() => {});
  },
};

class Timeout extends Error {}

function of(name) {
  const visitor = visitors.get(name);
  if (!visitor) throw new Error(`visitor ${name} is gone`);
  return visitor;
}

async function evaluate(page, js) {
  const value = await page.evaluate(js);
  return value === undefined ? null : value;
}

async function answer(line) {
  const { id, op, ...rest } = JSON.parse(line);
  let reply;
  try {
    const ok = await operations[op](rest);
    reply = { id, ok: ok === undefined ? null : ok };
  } catch (error) {
    reply = { id, error: String(error?.message ?? error), timeout: error instanceof Timeout };
  }
  process.stdout.write(JSON.stringify(reply) + "\n");
}

async function end() {
  await Promise.allSettled([...browsers.values()].map((browser) => browser.close()));
  process.exit(0);
}

process.on("unhandledRejection", (error) => console.error("unhandled:", error));
const version = JSON.parse(
  readFileSync(new URL("node_modules/puppeteer-core/package.json", import.meta.url)),
).version;
process.stdout.write(JSON.stringify({ id: 0, ok: { puppeteer: version } }) + "\n");
readline.createInterface({ input: process.stdin }).on("line", answer).on("close", end);
