"""A page's bytes in, the same bytes with videos handed to the loader out.

Four things are inserted and nothing is ever removed or replaced:

* the loader's script, right after `<head>`;
* `data-` in front of the `src` of a `<video>` and of its `<source>` children;
* a `<noscript>` with the original after each such video's `</video>`.

**All or none.** A browser that finds `src` on the video ignores the sources, and of the
sources it takes the first it can play: rewriting only some of them would change what is
played. So a video is held back (at most `hold_limit` bytes) until its `</video>` has arrived
and is rewritten as a whole, or not at all: when one of its sources may not be shared, has no
address or already has a `data-src`, when the video says `data-p2p="off"`, when its content is
not well nested (then its end would depend on what stands around it), or when it is never
closed.

**When in doubt, stop.** A tokenizer without a tree cannot follow every malformed page. Where
what follows depends on the tree (`Foreign`, raw text inside `<select>`, a frameset) the rest
of the page passes as it is. A page that does not begin with a doctype, `<html>` or `<head>` is
a fragment for somebody else's page and passes as a whole.

Any chunking gives the same output. Besides a held video, only an unfinished token of a few
bytes is kept; time is linear in the input. `work` counts the bytes looked at.
"""

from __future__ import annotations

from collections.abc import Callable

from p2pcdn.page.foreign import Foreign, Step
from p2pcdn.page.leap import leap
from p2pcdn.page.tags import OpenTag, is_self_closing
from p2pcdn.page.tokens import (
    COMMENT_END,
    FOREIGN_TEXT,
    NAME,
    RAW_END,
    SCRIPT_STATES,
    SKIP,
    SKIP_IN_SELECT,
    TAG,
    TEXT,
    VOID,
    WHITE_SPACE,
    attributes,
)
from p2pcdn.page.video import HeldVideo, Verdict

__all__ = ["Rewriter"]

_LONGEST_NAME = 32  # of a tag that concerns us, with room; a longer one needs no waiting for
_MAX_MEDIA = 4096


class Rewriter:
    """Streams one page. Feed it every chunk, then `close` it.

    Args:
        head: What enters the head.
        beside: What the first `<noscript>` carries besides the copy (a style sheet's link).
        media_of: The media path of a raw attribute value, or None when it may not be shared.
        set_base: Told the raw value of the page's first `<base href>`.
        watch_escapes: Stop at an ESC byte. For pages of unknown encoding: ISO-2022 hides
            arbitrary ASCII between escape sequences.
        hold_limit: Most bytes that a video may keep back.
        copy_limit: A longer video gets a `<noscript>` with nothing but its first address.
        media: The list that found media are added to.

    An error within (`media_of` and `set_base` are somebody else's) does not surface: the rest
    of the page passes as it is, and `failure` tells.
    """

    def __init__(
        self,
        *,
        head: bytes,
        beside: bytes,
        media_of: Callable[[bytes], str | None],
        set_base: Callable[[bytes], None],
        watch_escapes: bool = False,
        hold_limit: int = 64 * 1024,
        copy_limit: int = 8 * 1024,
        media: list[str] | None = None,
    ) -> None:
        self.media: list[str] = [] if media is None else media
        self.failure: Exception | None = None
        self.injected = False
        self.rewritten = 0
        self.work = 0
        self._head = head
        self._beside = beside
        self._media_of = media_of
        self._set_base = set_base
        self._watch_escapes = watch_escapes
        self._hold_limit = hold_limit
        self._copy_limit = copy_limit
        self._seen: set[str] = set()

        self._buffer: bytes | bytearray = b""
        self._at = 0  # everything before has been understood
        self._insertions: list[tuple[int, bytes]] = []
        self._step: Callable[[], bool] | None = self._begin
        self._content: Callable[[], bool] = self._prologue  # where a finished token leads back

        self._tag: OpenTag | None = None
        self._raw = b""
        self._script = 0
        self._foreign: Foreign | None = None
        self._held: HeldVideo | None = None
        self._is_page = False
        self._has_base = False
        self._templates = 0
        self._in_select = False

    # --- in and out ---------------------------------------------------------------------

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; give back all that is settled."""
        if self._step is None:
            return data
        if not data:
            return b""
        if self._buffer:
            assert isinstance(self._buffer, bytearray)
            self._buffer += data
        else:
            self._buffer = data
        rest = b""
        if self._watch_escapes and (escape := data.find(b"\x1b")) >= 0:
            rest = data[escape:]
            self._buffer = self._buffer[: len(self._buffer) - len(rest)]
        self.work += len(self._buffer) - self._at
        try:
            while self._step is not None and self._step():
                pass
        except Exception as error:  # whatever it is, the visitor gets the page
            self.failure = error
            self._insertions.clear()
            self._stop()
        if rest:
            self._stop()
        return self._settled() + rest if rest else self._settled()

    def close(self) -> bytes:
        """The page has ended: give back what was kept, as it is."""
        self._stop()
        return self._settled()

    def _settled(self) -> bytes:
        limit = len(self._buffer) if self._step is None else self._at
        if self._held is not None:
            limit = self._held.start
        elif self._tag is not None and self._tag.start >= 0:
            limit = self._tag.start
        buffer = self._buffer
        if not self._insertions and limit == len(buffer):
            out = bytes(buffer)
        else:
            pieces: list[bytes | bytearray] = []
            done = 0
            for position, inserted in self._insertions:
                pieces += (buffer[done:position], inserted)
                done = position
            pieces.append(buffer[done:limit])
            out = b"".join(pieces)
            self._insertions.clear()
        if limit == len(buffer):
            self._buffer = b""
        elif isinstance(buffer, bytearray):
            del buffer[:limit]
        else:
            self._buffer = bytearray(memoryview(buffer)[limit:])
        self._at -= limit
        if self._held is not None:
            self._held.moved(limit)
        if self._tag is not None and self._tag.start >= 0:
            self._tag.start -= limit
        return out

    def _stop(self) -> bool:
        self._step = None
        self._held = None
        self._tag = None
        return False

    def _insert(self, position: int, data: bytes) -> None:
        self._insertions.append((position, data))

    # --- tokens -------------------------------------------------------------------------

    def _markup(self) -> bool:
        """A `<` stands at the cursor. Find out what begins there."""
        buffer, at = self._buffer, self._at
        name = NAME.match(buffer, at)
        if name is not None:
            if name.end() == len(buffer) and name.end() - at < _LONGEST_NAME:
                return False
            return self._opened(bytes(name[1][:_LONGEST_NAME]).lower(), name.end())
        start = bytes(buffer[at : at + 9])
        if start in (b"<", b"</", b"<!", b"<!-"):
            return False
        if start.startswith(b"<!--"):
            # `<!-->` and `<!--->` are whole comments.
            if start in (b"<!--", b"<!---"):
                return False
            if start[4:5] == b">" or start[4:6] == b"->":
                self._at = at + (5 if start[4:5] == b">" else 6)
                self._step = self._content
                return True
            self._at = at + 4
            self._step = self._comment
            return True
        if self._foreign is not None and self._foreign.cdata:
            if start == b"<![CDATA[":
                self._at = at + 9
                self._step = self._cdata
                return True
            if b"<![CDATA[".startswith(start):
                return False
        if start[1:2] in (b"?", b"!", b"/"):
            if start.startswith(b"</>"):
                self._at = at + 3
                self._step = self._content
                return True
            self._at = at + 2
            self._step = self._bogus
            return True
        self._at = at + 1  # a mere "less than"
        self._step = self._content
        return True

    def _opened(self, name: bytes, name_end: int) -> bool:
        """A tag with a complete name stands at the cursor."""
        start = self._at
        closing = self._buffer[start + 1 : start + 2] == b"/"
        if self._content == self._prologue and not self._prologue_tag(name, closing=closing):
            return self._step is not None
        tag = TAG.match(self._buffer, start)
        if tag is not None:
            self._at = tag.end()
            self._step = self._content
            self_closing = is_self_closing(self._buffer, name_end, tag.end())
            self._closed(name, start, closing=closing, self_closing=self_closing)
            return self._step is not None
        self.work += len(self._buffer) - start
        keep = not closing and self._foreign is None and name in (b"video", b"source", b"base")
        self._tag = OpenTag(name, closing=closing, start=start if keep else -1)
        self._at = name_end
        self._step = self._rest_of_tag
        return True

    def _rest_of_tag(self) -> bool:
        tag = self._tag
        assert tag is not None
        self._at = tag.scan(self._buffer, self._at)
        if not tag.complete:
            if tag.start >= 0 and self._at - tag.start > self._hold_limit:
                tag.start = -1
            self._limit_hold()
            return False
        self._tag = None
        self._step = self._content
        self._closed(tag.name, tag.start, closing=tag.closing, self_closing=tag.self_closing)
        return self._step is not None

    def _closed(self, name: bytes, start: int, *, closing: bool, self_closing: bool) -> None:
        """A tag ends at the cursor. `start` is -1 where its bytes were not kept."""
        content = self._content
        if content == self._ordinary:
            self._ordinary_tag(name, start, closing=closing, self_closing=self_closing)
        elif content == self._in_video:
            self._video_tag(name, start, closing=closing, self_closing=self_closing)
        elif content == self._in_foreign:
            self._foreign_tag(name, start, closing=closing, self_closing=self_closing)
        elif content == self._in_raw:
            self._content = self._in_foreign if self._foreign is not None else self._ordinary
            self._step = self._content
        elif name == b"head" and not closing:
            self._inject(self._at)

    def _comment(self) -> bool:
        end = COMMENT_END.search(self._buffer, self._at)
        return self._until(end.end() if end else -1, keep=3)

    def _cdata(self) -> bool:
        end = self._buffer.find(b"]]>", self._at)
        return self._until(end + 3 if end >= 0 else -1, keep=2)

    def _bogus(self) -> bool:
        return self._until(self._buffer.find(b">", self._at) + 1 or -1, keep=0)

    def _until(self, end: int, *, keep: int) -> bool:
        if end < 0:
            self._at = max(self._at, len(self._buffer) - keep)
            self._limit_hold()
            return False
        self._at = end
        self._step = self._content
        return True

    # --- raw text -----------------------------------------------------------------------

    def _begin_raw(self, name: bytes) -> None:
        self._raw = name
        self._script = 0
        self._content = self._in_raw
        self._step = self._in_script if name == b"script" else self._in_raw

    def _in_raw(self) -> bool:
        """Text up to the element's own end tag."""
        end = RAW_END[self._raw].search(self._buffer, self._at)
        if end is None:
            return self._keep_tail(len(self._raw) + 2)
        self._at = end.start()
        return self._opened(self._raw, end.end())

    def _in_script(self) -> bool:
        """Script data, escaped and double escaped (13.2.5.17 to 13.2.5.31)."""
        found = SCRIPT_STATES[self._script].search(self._buffer, self._at)
        if found is None:
            return self._keep_tail(len(b"</script"))
        token = found[0]
        if token == b"<!--":
            self._script = 1
            self._at = found.end() - 2  # its dashes may already belong to a `-->`
        elif token == b"-->":
            self._script = 0
            self._at = found.end()
        elif self._script == 2:
            self._script = 1
            self._at = found.end()
        elif token[1:2] == b"/":
            self._at = found.start()
            return self._opened(b"script", found.end())
        else:
            self._script = 2
            self._at = found.end()
        return True

    def _keep_tail(self, longest: int) -> bool:
        # Whatever may still become a token begins with `<` or `-`.
        tail = max(self._at, len(self._buffer) - longest)
        begin = min(
            (p for p in (self._buffer.find(c, tail) for c in (b"<", b"-")) if p >= 0),
            default=len(self._buffer),
        )
        self._at = begin
        return False

    # --- before the head ----------------------------------------------------------------

    def _begin(self) -> bool:
        """The byte order mark decides the encoding, whatever the header says."""
        start = bytes(self._buffer[:3])
        if start.startswith((b"\xfe\xff", b"\xff\xfe")):
            return self._stop()
        if len(start) < 3 and start in (b"\xef", b"\xef\xbb", b"\xfe", b"\xff"):
            return False
        if start == b"\xef\xbb\xbf":
            self._at = 3
        self._step = self._content
        return True

    def _prologue(self) -> bool:
        """White space, comments, doctype, `<html>`: the script goes after `<head>`, or before
        the first thing that can only be its content."""
        space = WHITE_SPACE.match(self._buffer, self._at)
        assert space is not None
        self._at = space.end()
        start = bytes(self._buffer[self._at : self._at + 9]).lower()
        if not start:
            return False
        if start == b"<!doctype":
            self._is_page = True
        elif start[:1] != b"<":
            return self._text_in_prologue()
        elif b"<!doctype".startswith(start):
            return False
        elif len(start) > 1 and start[1:2] not in (b"!", b"?", b"/") and not start[1:2].isalpha():
            return self._text_in_prologue()
        return self._markup()

    def _text_in_prologue(self) -> bool:
        return self._page_or_fragment() and self._inject(self._at)

    def _prologue_tag(self, name: bytes, *, closing: bool) -> bool:
        """Whether the tag at the cursor still belongs before the head's content."""
        if closing and name not in (b"head", b"body", b"html", b"br"):
            return self._page_or_fragment()  # the parser ignores it
        if not closing and name in (b"html", b"head"):
            self._is_page = True
            return True
        if self._page_or_fragment():
            self._inject(self._at)
        return False

    def _page_or_fragment(self) -> bool:
        return self._is_page or self._stop()

    def _inject(self, position: int) -> bool:
        self._insert(position, self._head)
        self.injected = True
        self._content = self._step = self._ordinary
        return True

    # --- ordinary content ---------------------------------------------------------------

    def _ordinary(self) -> bool:
        if self._in_select:
            skipped = SKIP_IN_SELECT.match(self._buffer, self._at)
        else:
            skipped = SKIP.match(self._buffer, leap(self._buffer, self._at))
        assert skipped is not None
        self._at = skipped.end()
        return self._at < len(self._buffer) and self._markup()

    def _ordinary_tag(self, name: bytes, start: int, *, closing: bool, self_closing: bool) -> None:
        if closing:
            if name == b"template":
                self._templates = max(0, self._templates - 1)
            elif name == b"select":
                self._in_select = False
        elif name == b"script":
            self._begin_raw(name)
        elif name in RAW_END:
            if self._in_select:  # browsers differ on whether this is an element at all
                self._stop()
            else:
                self._begin_raw(name)
        elif name in (b"svg", b"math"):
            if self._in_select:
                self._stop()
            elif not self_closing:
                self._foreign = Foreign(name)
                self._content = self._step = self._in_foreign
        elif name == b"template":
            self._templates += 1
            if self._in_select:
                self._stop()
        elif name == b"select":
            self._in_select = True
        elif name in (b"plaintext", b"frameset") or (name == b"col" and self._templates):
            self._stop()
        elif name == b"base":
            self._base_tag(start)
        elif name == b"video":
            if self._in_select:
                self._stop()
            elif not self._templates and start >= 0:
                self._hold(start)

    def _base_tag(self, start: int) -> None:
        if self._has_base or self._templates:
            return
        if start < 0 or self._at - start > self._hold_limit:
            # Longer than anyone keeps: relative addresses can mean anything now.
            self._stop()
            return
        for attribute in attributes(self._buffer, start, self._at):
            if attribute.name == b"href":
                self._has_base = True
                self._set_base(attribute.value or b"")
                return

    # --- a video ------------------------------------------------------------------------

    def _hold(self, start: int) -> None:
        held = HeldVideo(start, self._media_of)
        if held.video(attributes(self._buffer, start, self._at)):
            self._held = held
            self._content = self._step = self._in_video
        else:
            self._release()

    def _release(self) -> None:
        """The held video passes as it is."""
        self._held = None
        self._content = self._step = self._ordinary

    def _limit_hold(self) -> None:
        if self._held is not None and self._at - self._held.start > self._hold_limit:
            content = self._step
            self._release()
            if content != self._in_video:  # within a token: that one goes on
                self._step = content

    def _in_video(self) -> bool:
        text = TEXT.match(self._buffer, self._at)
        assert text is not None
        self._at = text.end()
        self._limit_hold()
        if self._held is None:
            return True
        return self._at < len(self._buffer) and self._markup()

    def _video_tag(self, name: bytes, start: int, *, closing: bool, self_closing: bool) -> None:
        held = self._held
        assert held is not None
        if self._at - held.start > self._hold_limit:
            verdict = Verdict.RELEASE
        elif closing:
            verdict = held.end(name)
        elif name == b"source":
            verdict = held.source(attributes(self._buffer, start, self._at))
        elif name in VOID:
            verdict = held.other(name, void=True)
        else:
            verdict = held.other(name, void=False)
        if verdict is Verdict.RELEASE:
            self._release()
            self._ordinary_tag(name, start, closing=closing, self_closing=self_closing)
        elif verdict is Verdict.COMPLETE:
            self._commit(held)

    def _commit(self, held: HeldVideo) -> None:
        self._release()
        noscript = held.noscript(
            bytes(self._buffer[held.start : self._at]),
            beside=b"" if self.rewritten else self._beside,
            copy_limit=self._copy_limit,
        )
        if noscript is None or len(self.media) + len(held.media) > _MAX_MEDIA:
            return
        self.rewritten += 1
        for position in held.renames:
            self._insert(position, b"data-")
        self._insert(self._at, noscript)
        for url in held.media:
            if url not in self._seen:
                self._seen.add(url)
                self.media.append(url)

    # --- SVG and MathML -----------------------------------------------------------------

    def _in_foreign(self) -> bool:
        text = FOREIGN_TEXT.match(self._buffer, self._at)
        assert text is not None
        self._at = text.end()
        return self._at < len(self._buffer) and self._markup()

    def _foreign_tag(self, name: bytes, start: int, *, closing: bool, self_closing: bool) -> None:
        assert self._foreign is not None
        step = (
            self._foreign.end(name)
            if closing
            else self._foreign.start(name, self_closing=self_closing)
        )
        if step is Step.RAW:
            self._begin_raw(name)
        elif step is Step.DOUBT:
            self._stop()
        elif step in (Step.LEFT, Step.CLOSED):
            self._foreign = None
            self._content = self._step = self._ordinary
            if step is Step.LEFT:  # none of the tags that do this needs its bytes
                self._ordinary_tag(name, start, closing=closing, self_closing=self_closing)
