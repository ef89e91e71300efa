"""The demo's pages, as HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from string import Template

from p2pcdn.demo.library import Film

__all__ = ["index", "media_path", "not_found", "watch"]

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>$title</title>
  <link rel="icon" href="$root/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="$root/style.css">
</head>
<body>
  <header>
    <a href="$root/"><img src="$root/icon.svg" alt="" width="28" height="28">Halflight</a>
  </header>
  <main>
$main
  </main>
  <footer>A demo of p2pcdn: one line of middleware around an ordinary site.</footer>
</body>
</html>
""")

_STEPS = """
<section class="steps">
  <h2>See it happen</h2>
  <ol>
    <li><strong>Open a film.</strong> The panel in the corner counts what the server sends.</li>
    <li><strong>Open the same page in a second tab</strong>, or another browser on this machine.
      Its film comes from the first one.</li>
    <li><strong>Close the first tab while the second one plays.</strong> It plays on: what no
      visitor delivers in time comes from the server.</li>
  </ol>
</section>"""


def index(films: Iterable[Film], *, root: str) -> str:
    """The list of all films; `root` is the prefix of every link."""
    lead, *_ = films
    picture = _poster(lead, root)
    main = f"""
<section class="hero">
  {picture}
  <div>
    <h1>{escape(lead.title)}</h1>
    <p>{escape(lead.text)}</p>
    <a class="button" href="{root}/watch/{lead.slug}">Watch</a>
  </div>
</section>
{_STEPS}"""
    others = [film for film in films if film is not lead]
    if others:
        main += f'\n<h2>More films</h2>\n<div class="grid">{_cards(others, root)}</div>'
    return _page("Halflight", main, root)


def media_path(film: Film) -> str:
    """Where the demo serves a film's file, below its prefix."""
    return f"/media/{film.slug}{film.file.suffix.lower()}"


def watch(film: Film, others: Iterable[Film], *, root: str) -> str:
    """The page that plays `film`."""
    poster = f' poster="{root}/poster/{film.slug}"' if film.poster else ""
    main = f"""
<video src="{root}{media_path(film)}"{poster} controls playsinline
  preload="metadata" width="854" height="480"></video>
<h1>{escape(film.title)}</h1>
<p class="quiet">{escape(film.text)}</p>
{_STEPS}"""
    cards = _cards(others, root)
    if cards:
        main += f'\n<h2>More films</h2>\n<div class="grid">{cards}</div>'
    return _page(film.title, main, root)


def not_found(*, root: str) -> str:
    """What stands where nothing is."""
    main = f'<h1>Nothing on this reel</h1>\n<p><a href="{root}/">All films</a></p>'
    return _page("Not here", main, root)


def _page(title: str, main: str, root: str) -> str:
    return _PAGE.substitute(title=escape(title), main=main, root=root)


def _cards(films: Iterable[Film], root: str) -> str:
    return "".join(
        f'<a class="card" href="{root}/watch/{film.slug}">{_poster(film, root)}'
        f"<strong>{escape(film.title)}</strong></a>"
        for film in films
    )


def _poster(film: Film, root: str) -> str:
    if film.poster is None:
        return f'<span class="blank">{escape(film.title[:1])}</span>'
    return f'<img src="{root}/poster/{film.slug}" alt="" width="854" height="480">'
