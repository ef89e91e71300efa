"""The HTML tokenizer's grammar as byte regexes.

Source: HTML Living Standard, 13.2.5 "Tokenization". All quantifiers that could overlap are
possessive, so that no input makes them backtrack: every match is linear in what it consumes.

Bytes are matched, not characters. In every encoding that extends ASCII (UTF-8, the Latin
family, EUC, Shift_JIS, GBK, Big5) the bytes `< > " ' = /` and white space are never part of
another character.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "ASIDE",
    "BREAKOUT",
    "COMMENT_END",
    "FOREIGN_TEXT",
    "LOOK",
    "NAME",
    "RAW_END",
    "SCRIPT_STATES",
    "SKIP",
    "SKIP_IN_SELECT",
    "TAG",
    "TEXT",
    "VIDEO_END",
    "VOID",
    "WHITE_SPACE",
    "Attribute",
    "attributes",
    "has_video_end",
]

_WS = rb" \t\n\f\r"

# A value may only be "absent" where no `=` follows: otherwise a value whose end has not
# arrived yet would be read as part of the next name, and its `>` as the end of the tag.
_VALUE = (
    rb"(?:[%(ws)s]*+=[%(ws)s]*+"
    rb"(?:\"[^\"]*+\"|'[^']*+'|[^%(ws)s>\"'][^%(ws)s>]*+|(?=>))"
    rb"|(?![%(ws)s]*+=))"
) % {b"ws": _WS}
# The first two are only the most frequent cases of the third, made quick.
_REST_OF_TAG = (
    rb"(?:>|(?: [a-z-]++=\"[^\"]*+\")++>"
    rb"|(?:[%(ws)s/]++|[^%(ws)s/>][^%(ws)s/>=]*+%(value)s)*+>)"
) % {b"ws": _WS, b"value": _VALUE}

COMMENT = rb"<!--(?:-?>|(?:[^-]++|-(?!-!?>))*+--!?>)"

TAG = re.compile(rb"</?+[a-zA-Z][^%s/>]*+%s" % (_WS, _REST_OF_TAG))
"""A whole tag."""

NAME = re.compile(rb"</?+([a-zA-Z][^%s/>]*+)" % _WS)
COMMENT_END = re.compile(rb"--!?>")
VIDEO_END = re.compile(rb"</[vV][iI][dD][eE][oO]")
"""Without one, no video can be rewritten. (Rarer bytes than a start tag's: a quicker search.)"""
_FEW = 32


VOID = frozenset(
    b"area base basefont bgsound br col embed frame hr image img input keygen link meta param "
    b"source track wbr".split()
)

RAW_NAMES = b"style textarea title xmp iframe noembed noframes noscript".split()
"""Elements whose content is text up to their own end tag. `script` has states of its own;
`noscript` is one for every browser that runs scripts."""

BREAKOUT = frozenset(
    b"b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img "
    b"li listing menu meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul "
    b"var".split()
)
"""Start tags that end SVG and MathML content (13.2.6.5)."""


def _any_case(name: bytes) -> bytes:
    return b"".join(
        b"[%c%c]" % (c, c - 32) if 97 <= c <= 122 else re.escape(bytes([c])) for c in name
    )


def _one_of(names: list[bytes]) -> bytes:
    """The names as one alternation that decides on the first letter."""
    tree: dict[int, list[bytes]] = {}
    for name in names:
        tree.setdefault(name[0], []).append(name[1:])
    return b"|".join(
        _any_case(bytes([first])) + b"(?:" + b"|".join(map(_any_case, rest)) + b")"
        for first, rest in tree.items()
    )


def _end_of(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"</" + _any_case(name) + rb"(?=[%s/>])" % _WS)


RAW_END = {name: _end_of(name) for name in RAW_NAMES}

_SCRIPT = _any_case(b"script") + rb"(?=[%s/>])" % _WS
SCRIPT_STATES = (
    re.compile(rb"<!--|</" + _SCRIPT),
    re.compile(rb"-->|</?+" + _SCRIPT),
    re.compile(rb"-->|</" + _SCRIPT),
)
"""What matters in script data, script data escaped, script data double escaped."""

_LESS_THAN = rb"<(?=[^a-zA-Z/!?])"
_BOGUS = rb"<(?:\?|/[^a-zA-Z>]|!(?!--))[^>]*+>|</>"

TEXT = re.compile(rb"(?:[^<]++|%s|%s|%s)*+" % (COMMENT, _LESS_THAN, _BOGUS))
"""Character data and comments, where every tag has to be looked at."""

FOREIGN_TEXT = re.compile(rb"(?:[^<]++|%s|%s)*+" % (COMMENT, _LESS_THAN))
"""The same inside SVG and MathML, where `<![CDATA[` is no comment."""

WHITE_SPACE = re.compile(rb"[%s]*+" % _WS)

# An icon: shapes only. Anything richer is walked element by element. That a shape may stay
# open does no harm (`</svg>` closes it); an end tag that closes nothing here might.
# (No groups within possessive repeats: CPython 3.11 loses their spans.)
_SHAPE_NAMES = b"path circle rect line polyline polygon ellipse use".split()
_SHAPES = b"|".join(
    rb"<%s(?=[%s/>])%s(?:(?<!/>)</%s>)?+" % (name, _WS, _REST_OF_TAG, name) for name in _SHAPE_NAMES
)
_ICON = rb"<svg(?=[%s>])%s(?<!/>)(?:[^<]++|%s){0,256}+</svg>" % (_WS, _REST_OF_TAG, _SHAPES)

_LOOK_AT_START = [
    b"script",
    *RAW_NAMES,
    *b"svg math template select frameset plaintext video base col".split(),
]
_LOOK_AT_END = [b"template", b"select"]

# Initials that no name above has: most tags are told apart by one byte.
_HARMLESS = bytes({*b"abcdefghijklmnopqrstuvwxyz"} - {name[0] for name in _LOOK_AT_START})


def _skip(*more: bytes) -> re.Pattern[bytes]:
    tag = (
        rb"<(?:/(?!(?:%(end)s)[%(ws)s/>])[a-zA-Z]"
        rb"|[%(harmless)s]|(?!(?:%(start)s)[%(ws)s/>])[a-zA-Z])"
        rb"[^%(ws)s/>]*+%(rest)s"
    ) % {
        b"ws": _WS,
        b"start": _one_of(_LOOK_AT_START),
        b"end": _one_of(_LOOK_AT_END),
        b"harmless": _HARMLESS,
        b"rest": _REST_OF_TAG,
    }
    rest = b"|".join((COMMENT, *more, _LESS_THAN, _BOGUS))
    return re.compile(rb"(?:(?:%s[^<]*+)++|[^<]++|%s)*+" % (tag, rest))


SKIP = _skip(_ICON)
"""All of ordinary content that cannot concern us, as far as it is complete."""

SKIP_IN_SELECT = _skip()

ASIDE = re.compile(rb"(?:[^<]++|%s)*+" % b"|".join((COMMENT, _ICON, _LESS_THAN, _BOGUS)))
"""What `SKIP` skips, up to the next tag."""


# An icon as nearly all are written, with no `<` in its values: no need to look into this one.
_QUOTED = rb"(?: [a-zA-Z:-]++=\"[^\"<]*+\")*+"
_PLAIN_ICON = (
    rb"svg%(quoted)s>[%(ws)s]*+(?:<(?:%(names)s)%(quoted)s ?/?>[%(ws)s]*+){0,64}+</svg>"
    % {b"names": b"|".join(_SHAPE_NAMES), b"quoted": _QUOTED, b"ws": _WS}
)


def _letters(place: int) -> bytes:
    """What may stand at this place of a name that has to be looked at."""
    letters = bytes({name[place] for name in _LOOK_AT_START})
    return b"[%s%s]" % (letters, letters.upper())


# Nearly all tags end at one of the sets, which are read, not looked at: an assertion costs more
# than all three, and alternatives that begin with a set are passed over without a try. For the
# rest the names are looked at from where they began.
LOOK = re.compile(
    rb"<(?:%(near)s(?<=(?!%(icon)s)(?=(?:%(start)s)[%(ws)s/>])...)|[!?]"
    rb"|/[^a-ru-zA-RU-Z](?:(?<=(?=(?:%(end)s)[%(ws)s/>]).)|(?<=[^a-zA-Z])))"
    % {
        b"near": b"".join(map(_letters, range(3))),
        b"icon": _PLAIN_ICON,
        b"start": _one_of(_LOOK_AT_START),
        b"end": _one_of(_LOOK_AT_END),
        b"ws": _WS,
    },
    re.DOTALL,
)
"""Where something may begin that is neither text nor a tag that `SKIP` skips, be it in a value."""

_ATTRIBUTE = re.compile(
    rb"[%(ws)s/]*+([^%(ws)s/>][^%(ws)s/>=]*+)"
    rb"(?:[%(ws)s]*+=[%(ws)s]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^%(ws)s>\"'][^%(ws)s>]*+)|(?=>)))?+"
    % {b"ws": _WS}
)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a tag: lower-case name, raw value, where it stands in the buffer.

    `raw` is the value as written, with its quotes; `value` is None where there is no `=`.
    """

    name: bytes
    value: bytes | None
    raw: bytes
    start: int


def attributes(buffer: bytes | bytearray, start: int, end: int) -> list[Attribute]:
    """The attributes of the complete tag `buffer[start:end]`, duplicates included, in order."""
    name = NAME.match(buffer, start, end)
    assert name is not None
    found = []
    position = name.end()
    while match := _ATTRIBUTE.match(buffer, position, end):
        position = match.end()
        group = match.lastindex or 1
        value: bytes | None = None
        raw = b""
        if group > 1:
            value = bytes(match[group])
            quote = {2: b'"', 3: b"'", 4: b""}[group]
            raw = quote + value + quote
        elif position > match.end(1):
            value = b""
        found.append(Attribute(bytes(match[1]).lower(), value, raw, match.start(1)))
    return found


def has_video_end(page: bytes) -> bool:
    """Whether `VIDEO_END` is in the page: the same answer, mostly in half the time.

    Bytes look for `</v` from behind much quicker than an expression does from the front, and for
    one byte that is rare, as `V` is in most pages, in no time.
    """
    last = page.rfind(b"</v")
    if last >= 0:
        return bool(VIDEO_END.match(page, last) or VIDEO_END.search(page))
    after = 0
    for _ in range(_FEW):
        after = page.find(b"V", after) + 1
        if after == 0:
            return False
        if page.endswith(b"</V", 0, after):
            break
    return page.rfind(b"</V") >= 0 and VIDEO_END.search(page) is not None
