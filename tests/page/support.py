"""A rewriter with short insertions, and lexbor's view of a document."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser

from p2pcdn.page.rewriter import Rewriter
from p2pcdn.page.urls import Resolver

HEAD = b"<script async src=/L></script>"
BESIDE = b"<link rel=stylesheet href=/N>"
PAGE_URL = "https://example.org/watch/1"


class Marked(Rewriter):
    """The same rewriter; what it inserts can be told from what was there."""

    def _insert(self, position: int, data: bytes) -> None:
        data = data.replace(b"<noscript>", b"<noscript>OURS")
        super()._insert(position, b"data-ours-" if data == b"data-" else data)


def rewriter(
    kind: type[Rewriter] = Rewriter,
    *,
    exclude: str = "private",
    watch_escapes: bool = False,
    **limits: int,
) -> Rewriter:
    """A rewriter for a page of example.org, whose addresses with `private` are not shared."""
    resolver = Resolver(
        PAGE_URL, charset="utf-8", shareable=lambda url: exclude not in url, prefix=""
    )
    return kind(
        head=HEAD,
        beside=BESIDE,
        media_of=resolver.media_of,
        set_base=resolver.set_base,
        watch_escapes=watch_escapes,
        **limits,
    )


def rewrite(document: bytes, kind: type[Rewriter] = Rewriter, **options: int) -> bytes:
    one = rewriter(kind, **options)
    out = one.feed(document) + one.close()
    assert one.failure is None
    return out


def in_chunks(document: bytes, cuts: list[int], **options: int) -> bytes:
    one = rewriter(**options)
    cuts = [0, *sorted(cuts), len(document)]
    parts = [one.feed(document[a:b]) for a, b in itertools.pairwise(cuts)]
    assert one.failure is None
    return b"".join(parts) + one.close()


def is_subsequence(short: bytes, long: bytes) -> bool:
    """Nothing of `short` is missing in `long`, in order."""
    at = 0
    for byte in short:
        at = long.find(byte, at) + 1
        if not at:
            return False
    return True


@dataclass(eq=False)
class Element:
    """One node of lexbor's tree; text has a tag that begins with a dash."""

    tag: str
    attributes: dict[str, str | None]
    text: str
    children: list[Element] = field(default_factory=list)
    parent: Element | None = None

    def shape(self) -> tuple[object, ...]:
        """Everything that a comparison should see."""
        flat: list[object] = []
        stack: list[tuple[int, Element]] = [(0, self)]
        while stack:
            depth, node = stack.pop()
            flat.append(
                (depth, node.tag, tuple(sorted(node.attributes.items(), key=str)), node.text)
            )
            stack += [(depth + 1, child) for child in reversed(node.children)]
        return tuple(flat)

    def every(self) -> list[Element]:
        found: list[Element] = []
        stack = [self]
        while stack:
            node = stack.pop()
            found.append(node)
            stack += reversed(node.children)
        return found

    def within(self, *tags: str) -> bool:
        node = self.parent
        while node is not None:
            if node.tag in tags:
                return True
            node = node.parent
        return False


def tree(document: bytes) -> Element:
    """The document as a browser with scripts sees it.

    lexbor parses with scripts off, where `<noscript>` is an ordinary element; `<noframes>` is
    what `<noscript>` is with scripts on.
    """
    document = re.sub(rb"(?i)(</?)noscript", rb"\1noframes", document)
    # Undecodable bytes are nobody's business here; latin-1 keeps each of them.
    parsed = LexborHTMLParser(document.decode("latin-1"))
    top = Element("#document", {}, "")
    stack = [(parsed.root, top)]
    while stack:
        node, parent = stack.pop()
        while node is not None:
            text = ""
            if node.is_text_node:
                text = node.text_content or ""
            elif node.is_comment_node:
                text = node.comment_content or ""
            elif node.tag == "template":  # its content is not among its children
                text = node.inner_html or ""
            element = Element(node.tag, dict(node.attributes), text, [], parent)
            parent.children.append(element)
            if node.child is not None:
                stack.append((node.child, element))
            node = node.next
    return top


def sources(video: Element) -> list[Element]:
    """The video itself and its `<source>` children: what resource selection looks at."""
    return [video, *(child for child in video.children if child.tag == "source")]


def without_ours(top: Element) -> tuple[Element, list[Element]]:
    """The tree of a `Marked` page with the marks undone, and the elements that were renamed."""
    renamed: list[Element] = []
    for node in top.every():
        if "data-ours-src" in node.attributes:
            node.attributes["src"] = node.attributes.pop("data-ours-src")
            renamed.append(node)
        node.children = _joined(
            [
                child
                for child in node.children
                if not (child.tag == "script" and child.attributes.get("src") == "/L")
                and not (child.tag == "noframes" and child.children[:1]
                         and child.children[0].text.startswith("OURS"))
            ]
        )  # fmt: skip
    return top, renamed


def _joined(nodes: list[Element]) -> list[Element]:
    """Text that our insertion had split is one text again."""
    out: list[Element] = []
    for node in nodes:
        if node.tag == "-text" and out and out[-1].tag == "-text":
            out[-1].text += node.text
        else:
            out.append(node)
    return out
