import { ORIGIN_MARK } from "../engine";

/** Videos whose `src` the server renamed to `data-src`, and giving it back. */

/**
 * The videos below a node that wait for their source.
 *
 * A lazy-loading library of the site's own uses `data-src` too. Those mark their elements by a
 * class, and the server's rewriting leaves a <noscript> behind every video: what has the one and
 * not the other is not ours.
 */
export function waiting(root: ParentNode & Node): Set<HTMLVideoElement> {
  const found = new Set<HTMLVideoElement>();
  const add = (element: Element): void => {
    const video = element.closest("video");
    if (video && !isLazy(video)) found.add(video);
  };
  if (root instanceof Element && root.matches(WAITING)) add(root);
  root.querySelectorAll(WAITING).forEach(add);
  return found;
}

const WAITING = "video[data-src],video source[data-src]";

function isLazy(video: HTMLVideoElement): boolean {
  const lazy = /\b(?:lazy|lozad)/i.test(video.className);
  return lazy && video.nextElementSibling?.localName !== "noscript";
}

/** Every open shadow root below a node. */
export function* shadows(root: ParentNode): Generator<ShadowRoot> {
  for (const { shadowRoot } of root.querySelectorAll("*")) {
    if (shadowRoot) {
      yield shadowRoot;
      yield* shadows(shadowRoot);
    }
  }
}

/** Where a video will load from: the first source that the browser would try. */
export function source(video: HTMLVideoElement): URL | null {
  const own = video.getAttribute("src") ?? video.getAttribute("data-src");
  if (own !== null) return absolute(own, video);
  for (const candidate of video.querySelectorAll("source")) {
    const url = candidate.getAttribute("src") ?? candidate.getAttribute("data-src");
    const plays = !candidate.type || video.canPlayType(candidate.type) !== "";
    const fits = !candidate.media || matchMedia(candidate.media).matches;
    if (url !== null && plays && fits) return absolute(url, video);
  }
  return null;
}

/** An absolute URL as the worker will name it: without a fragment. */
export function absolute(url: string, node: Node): URL | null {
  try {
    const parsed = new URL(url, node.baseURI);
    parsed.hash = "";
    return parsed;
  } catch {
    return null;
  }
}

/**
 * Give a video its source back, as the page's author wrote it.
 *
 * What scripts did meanwhile is kept: another `src` wins, a play() that waits goes on.
 */
export function restore(video: HTMLVideoElement): void {
  const { paused, playbackRate } = video;
  const sources = [...video.querySelectorAll("source[data-src]")];
  sources.forEach(rename);
  if (!rename(video) && sources.length && !video.hasAttribute("src") && !video.srcObject) {
    // Changing the src of a <source> that is already there starts nothing by itself.
    // (NETWORK_EMPTY is 0, NETWORK_NO_SOURCE 3.)
    if (video.networkState % 3 === 0) video.load();
  }
  // Loading resets both.
  if (video.playbackRate !== playbackRate) video.playbackRate = playbackRate;
  if (!paused) resume(video);
}

/** Whether the element's source changed. */
function rename(element: Element): boolean {
  const url = element.getAttribute("data-src");
  element.removeAttribute("data-src");
  if (url === null || element.hasAttribute("src")) return false;
  if (element instanceof HTMLMediaElement && element.srcObject) return false;
  element.setAttribute("src", url);
  return true;
}

/**
 * Load a video again, past the worker, and go on where it was.
 *
 * The mark in the URL's fragment tells the worker to look away, and makes it another URL for
 * Chromium, which keeps a failed resource in memory.
 */
export function reload(player: HTMLMediaElement, url: string): void {
  const { currentTime, paused, playbackRate } = player;
  player.addEventListener(
    "loadedmetadata",
    () => {
      if (currentTime > 0) player.currentTime = currentTime;
    },
    { once: true },
  );
  const sources = player.hasAttribute("src") ? [player] : player.querySelectorAll("source");
  for (const element of sources) {
    const source = element.getAttribute("src");
    if (source === null || absolute(source, player)?.href !== url) continue;
    element.setAttribute("src", source + (source.includes("#") ? `&${MARK}` : ORIGIN_MARK));
  }
  if (!player.hasAttribute("src")) player.load();
  player.playbackRate = playbackRate;
  if (!paused) resume(player);
}

const MARK = ORIGIN_MARK.slice(1);

function resume(video: HTMLMediaElement): void {
  if (video.paused) video.play().catch(() => undefined); // the browser's autoplay rules decide
}
