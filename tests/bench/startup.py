"""What p2pcdn adds to the time until a video's first frame: `python -m tests.bench.startup`.

The same page with and without p2pcdn, in turn, in real Chromium. Every first visitor is a new
browser context. The same visitor comes back in a new tab; by then the browser has stopped its
idle service worker, as it does after 30 s. Milliseconds from the start of the navigation to
`loadeddata` (the first frame can be shown); the difference of the medians is judged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.swarm.film import NAME, film
from tests.browser.driver import Browsers, Visitor
from tests.browser.eyes import warm
from tests.servers.process import Missing
from tests.servers.proxy import Proxy
from tests.servers.python import Uvicorn

ASKED_MS = {"first": 100, "returning": 30}
_WITHOUT, _WITH = "plain", "starlette"
_PAGE = "autoplay"
_SETTLE_S = 1.5
"""Nobody's visit begins in the moment in which a window opens: it keeps the browser busy."""

# When what happened, in milliseconds since the start of the navigation.
_MARKS = """(() => {
  const marks = window.marks = {};
  const mark = (name) => { marks[name] ??= performance.now(); };
  for (const name of ["loadstart", "loadedmetadata", "loadeddata"])
    addEventListener(name, () => mark(name), {capture: true});
  navigator.serviceWorker?.addEventListener("controllerchange", () => mark("worker in control"));
  const long = marks.long = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) long.push([entry.startTime, entry.duration]);
  }).observe({type: "longtask", buffered: true});
  window.marked = () => {
    const [page] = performance.getEntriesByType("navigation");
    marks["page, first byte"] = page.responseStart;
    marks["page, last byte"] = page.responseEnd;
    for (const {name, initiatorType, startTime, responseStart, responseEnd}
         of performance.getEntriesByType("resource")) {
      const file = name.replace(/[?#].*/, "").replace(/.*\\//, "");
      const what = file.endsWith(".mp4") ? `film by ${initiatorType}` : file;
      marks[`${what}, asked`] ??= startTime;
      marks[`${what}, first byte`] ??= responseStart;
      if (!file.endsWith(".mp4")) marks[`${what}, last byte`] ??= responseEnd;
    }
    marks.why = window.p2pcdn?.whyDirect?.(document.getElementById("player").currentSrc) ?? null;
    return marks;
  };
})()"""


@dataclass(slots=True)
class Series:
    """The visits of one kind to one page."""

    times: list[float] = field(default_factory=list)
    marks: list[dict[str, Any]] = field(default_factory=list)

    def add(self, marks: dict[str, Any]) -> None:
        self.times.append(marks["loadeddata"])
        self.marks.append(marks)


def _visit(visitor: Visitor, url: str) -> dict[str, Any]:
    visitor.goto(url)
    visitor.wait_for("marks.loadeddata", timeout=60)
    return visitor.eval("marked()")  # type: ignore[no-any-return]


def _first_and_again(browsers: Browsers, url: str, ours: bool) -> dict[str, dict[str, Any]]:
    first = browsers.visitor(scripts=(_MARKS,))
    try:
        time.sleep(_SETTLE_S)
        found = {"first": _visit(first, url)}
        if ours:
            first.wait_for("window.p2pcdn && p2pcdn.whyDirect() === null")
        again = first.tab(scripts=(_MARKS,))
        first.close()
        try:
            again.stop_workers()
            time.sleep(_SETTLE_S)
            found["returning"] = _visit(again, url)
        finally:
            again.close()
    finally:
        first.close()
    return found


def _sites(stack: contextlib.ExitStack, latency_s: float) -> dict[str, str]:
    show = film(20)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="p2pcdn-bench-")))
    shutil.copy(show.folder / NAME, folder)
    urls = {}
    for app in (_WITHOUT, _WITH):
        site = stack.enter_context(
            Uvicorn(
                f"tests.sites.asgi_app:{app}",
                arguments=["--factory", "--no-access-log"],
                env={"SITE_MEDIA": str(folder)},
            )
        )
        proxy = stack.enter_context(Proxy(site.url))
        if app == _WITH:
            warm(proxy, _PAGE, NAME)
        proxy.latency_s = latency_s
        urls[app] = f"{proxy.url}/{_PAGE}"
    return urls


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.startup",
        description="Time to the first frame of a first and of a returning visitor, with and "
        "without p2pcdn in turn.",
    )
    parser.add_argument("--runs", type=int, default=12, help="visits of each kind (default 12)")
    parser.add_argument(
        "--latency", type=float, default=0, help="ms that every request takes longer (default 0)"
    )
    parser.add_argument("--trace", action="store_true", help="also print what happened when")
    parser.add_argument(
        "--quiet", action="store_true", help="begin each visit when other work leaves a pause"
    )
    parser.add_argument("--json", type=Path, help="write all that was seen to this file")
    options = parser.parse_args(arguments)
    seen = {app: {kind: Series() for kind in ASKED_MS} for app in (_WITHOUT, _WITH)}
    print(f"{options.runs} visits of each kind; load {os.getloadavg()[0]:.1f}", flush=True)
    try:
        with contextlib.ExitStack() as stack:
            urls = _sites(stack, options.latency / 1000)
            browsers = Browsers()
            stack.callback(browsers.close)
            for app in urls:  # the browser's own start is nobody's
                _first_and_again(browsers, urls[app], app == _WITH)
            for run in range(options.runs):
                for app in (_WITHOUT, _WITH) if run % 2 == 0 else (_WITH, _WITHOUT):
                    if options.quiet:
                        _pause()
                    found = _first_and_again(browsers, urls[app], app == _WITH)
                    for kind, marks in found.items():
                        seen[app][kind].add(marks)
    except Missing as error:
        print(error, file=sys.stderr)
        return 2
    _report(seen)
    if options.trace:
        _trace(seen)
    if options.json:
        rows = {
            app: {kind: series.marks for kind, series in kinds.items()}
            for app, kinds in seen.items()
        }
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


def _pause() -> None:
    """Wait until the machine has had next to nothing to do for half a second (Linux)."""

    def idle() -> int:
        return int(Path("/proc/stat").read_text().split(maxsplit=5)[4])

    enough = 0.85 * (os.cpu_count() or 1) * os.sysconf("SC_CLK_TCK") / 2
    for _ in range(240):
        before = idle()
        time.sleep(0.5)
        if idle() - before >= enough:
            return


def _report(seen: dict[str, dict[str, Series]]) -> None:
    print(f"{'visitor':12}{'without':>12}{'with':>12}{'added':>12}{'asked':>14}")
    for kind, asked in ASKED_MS.items():
        without, with_ = (median(seen[app][kind].times) for app in (_WITHOUT, _WITH))
        added = with_ - without
        verdict = "reached" if added <= asked else "MISSED"
        print(
            f"{kind:12}{without:9.0f} ms{with_:9.0f} ms{added:+9.0f} ms"
            f"{f'at most +{asked}':>14}   {verdict}"
        )
    direct = [m["why"] for kind in ASKED_MS for m in seen[_WITH][kind].marks if m["why"]]
    if direct:
        print(f"played direct: {', '.join(sorted(set(direct)))} ({len(direct)} visits)")


def _trace(seen: dict[str, dict[str, Series]]) -> None:
    for kind in ASKED_MS:
        for app, name in ((_WITHOUT, "without"), (_WITH, "with")):
            all_marks = seen[app][kind].marks
            found: dict[str, list[float]] = {}
            for marks in all_marks:
                for mark, at in marks.items():
                    if isinstance(at, (int, float)):
                        found.setdefault(mark, []).append(at)
            print(f"\n{kind}, {name} (medians, ms; in so many of {len(all_marks)} visits)")
            for mark, times in sorted(found.items(), key=lambda item: median(item[1])):
                print(f"  {median(times):8.0f}  {mark} ({len(times)})")


if __name__ == "__main__":
    sys.exit(main())
