#!/usr/bin/env python3
"""Print docs/settings.md, made from the settings themselves."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from p2pcdn.config import Config, options
from p2pcdn.config_checks import Option

_HEAD = """\
# Settings

<!-- Made by tools/settings_page.py from p2pcdn/config.py: `make docs` -->

None has to be set. A setting may stand in four places; the first that names it counts:

1. keywords: `P2PCDN(app, hud=True)`
2. the framework's settings: Django `P2PCDN = {"HUD": True}`, Flask
   `app.config["P2PCDN_HUD"] = True`
3. the environment: `P2PCDN_HUD=1`. Lists are separated by commas, `media_roots`,
   `ice_servers` and `streamers` are JSON.
4. `p2pcdn.toml`, or `[tool.p2pcdn]` in `pyproject.toml`, in the working directory

An unknown name or a value that is not allowed is an error at start-up. Sizes are bytes (in text
also `64KiB`, `2MB`), times seconds.
"""

_KINDS = {
    "bool": "true or false",
    "int": "whole number",
    "float": "number",
    "str": "text",
    "path": "URL path",
    "prefix": "URL path",
    "patterns": "list of URL path patterns",
    "origins": "list of origins",
    "files": "list of files",
    "redis": "URL",
    "mapping": "mapping",
    "ice": "list of RTCIceServer",
    "streamers": "mapping of peer id to token",
    "callable": "function, or its name",
}


def page() -> str:
    """The page as Markdown."""
    defaults = {field.name: field.default for field in dataclasses.fields(Config)}
    sections = [_HEAD]
    for name, option in options().items():
        sections.append(
            f"## `{name}`\n\n{option.help}\n\n"
            f"{_kind(option)}. Default: {_default(defaults[name])}.\n"
        )
    return "\n".join(sections)


def _kind(option: Option) -> str:
    kind = _KINDS[option.kind.removesuffix("?")]
    low, high = (None if n is None else f"{n:,.10g}" for n in (option.minimum, option.maximum))
    if low and high:
        kind += f", {low} to {high}"
    elif low:
        kind += f", at least {low}"
    return kind[0].upper() + kind[1:]


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return "empty" if not value else f"`{json.dumps(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:,}`" if isinstance(value, int) else f"`{value}`"


if __name__ == "__main__":
    print(page(), end="")
