"""What a site decided about its pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["PageOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOptions:
    """What the site decided about its pages.

    Attributes:
        loader_url: Absolute path of the loader with its version.
        noscript_url: Absolute path of the style sheet that hides the player without script.
        shareable: Told an absolute path with its query; whether it may be rewritten.
        prefix: The site's public prefix; media outside of it is another application's.
        always_inject: The loader also enters complete pages without any `</video`.
    """

    loader_url: str
    noscript_url: str
    shareable: Callable[[str], bool]
    prefix: str = ""
    always_inject: bool = False
