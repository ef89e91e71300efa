// Numbers as people read them, and small helpers for elements.

const WORDS = JSON.parse(document.getElementById("words").textContent);
const $ = (id) => document.getElementById(id);

/** Decimal units, as traffic is billed. */
function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (n >= 999.5 && unit < units.length - 1) {
    n /= 1000;
    unit++;
  }
  return `${unit === 0 || n >= 99.95 ? Math.round(n) : n.toPrecision(3)} ${units[unit]}`;
}

/** Decimal bits a second, as lines are sold. */
const rate = (bytesPerSecond) => `${bytes(bytesPerSecond * 8).replace("B", "bit")}/s`;
const count = (n) => n.toLocaleString("en");
const percent = (part, digits = 1) => (part === null ? "–" : `${(part * 100).toFixed(digits)} %`);
const millis = (n) =>
  n === null ? "–" : n < 1000 ? `${Math.round(n)} ms` : `${(n / 1000).toFixed(n < 10000 ? 1 : 0)} s`;

function money(amount, currency) {
  const digits = amount >= 1000 ? 0 : 2;
  const text = amount.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${currency}${text}`;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

/** Day and time of a step, as finely as the step is. */
function moment(t, step, long) {
  const date = new Date(t * 1000);
  const day = date.toLocaleDateString("en", { day: "numeric", month: "short" });
  if (step >= 86400) return day;
  const time = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return long ? `${day}, ${time}` : time;
}

/** An element. Text is always text: paths come from URLs that anyone may have made up. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  fill(element, attributes, children);
  return element;
}

function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  fill(element, attributes, children);
  return element;
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "width%") element.style.width = `${value * 100}%`;
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
}

const tip = {
  /** Lines beside the pointer; the first one is the heading. */
  show(event, lines) {
    const box = $("tip");
    box.replaceChildren(...lines.map((line, i) => make(i ? "div" : "b", {}, line)));
    box.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = box;
    const x = event.clientX + 16 + width > innerWidth ? event.clientX - 16 - width : event.clientX + 16;
    const y = Math.min(event.clientY + 12, innerHeight - height - 8);
    box.style.left = `${Math.max(8, x)}px`;
    box.style.top = `${Math.max(8, y)}px`;
  },
  hide() {
    $("tip").hidden = true;
  },
};

/** Text in which `names` are set as code. */
const prose = (text) => text.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));
