"""Masks secrets and excluded fields in text that an upstream, a database or a library wrote."""

from __future__ import annotations

import base64
import html
import re
from functools import cache, cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MASK = "***"
RUN = 8
"""Any run of this many characters of a secret is masked; a shorter secret is masked as a whole."""
MAX_ENCODINGS = 3
"""Encodings inside each other that are decoded, such as a URL in JSON in HTML."""
MAX_NAME_LENGTH = 256
UNIT = re.compile(
    r"""
      (?P<percent> %[0-7][0-9a-f] | %[cd][0-9a-f]%[89ab][0-9a-f] | %e[0-9a-f](?:%[89ab][0-9a-f]){2}
                 | %f[0-7](?:%[89ab][0-9a-f]){3} )
    | (?P<pair> \\u d[89ab][0-9a-f]{2} \\u d[c-f][0-9a-f]{2} )
    | (?P<code> \\u [0-9a-f]{4} | \\x [0-9a-f]{2} | %u [0-9a-f]{4} )
    | \\ (?P<short> ["'/\\bfnrt] )
    | (?P<entity> & (?: \#[0-9]{1,10} | \#x[0-9a-f]{1,8} | [a-z][a-z0-9]{1,31} ) ;? )
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""One encoded character: percent-encoded UTF-8, an escape of JSON or Python, or an entity of HTML."""
SHORT_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
ENCODED = re.compile(r"[%\\&]")
HEX = re.compile(r"[0-9a-f]{2,}")
FOLD = str.maketrans(
    {chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)} | {" ": "+", "-": "+", "_": "/"}
)
"""Maps upper case to lower case, a space to a form's plus, and one alphabet of base64 to the other."""
MEMBER = re.compile(
    rf"""(?<!\\)(?P<quote>\\{{0,16}}["']|&quot;|&\#34;)(?P<name>[^"'&:]{{1,{MAX_NAME_LENGTH}}}?)(?P=quote)\s*:\s*"""
)
"""The name of a JSON object's member, also in JSON that is encoded in JSON or HTML."""
QUOTE = re.compile(r"""\\{0,16}["']|&quot;|&\#34;""")
SCALAR = re.compile(r"[^,}\]\r\n]*")


class Redactor:
    r"""Masks secrets, however they are encoded, and the values of excluded fields.

    ``Redactor(["ab/cd-s3cret"]).redact("no such key: ab\\u002fcd-s3cret")`` is ``no such key: ***``.

    It is for foreign text only: a secret may contain a word that this package's own messages use.
    """

    def __init__(self, secrets: Iterable[str], *, fields: Iterable[str] = ()) -> None:
        """Prepares the masks.

        Args:
            secrets: Texts to mask. Empty ones are ignored.
            fields: Names of JSON members, as sent or as columns, whose values to mask; the last part of a dotted path.
        """
        self._secrets = tuple({secret for secret in secrets if secret})
        self._fields = tuple({name.rpartition(".")[2] for name in fields if name.strip()})

    def redact(self, text: str) -> str:
        """``text`` with each secret and each excluded value in it replaced by ``***``."""
        if self._secrets:
            text = self._without_secrets(text)
        return self._without_fields(text) if self._fields else text

    def _without_secrets(self, text: str) -> str:
        hidden = bytearray(len(text))
        level = _Level(text, range(len(text)), range(1, len(text) + 1))
        for depth in range(MAX_ENCODINGS + 1):
            for start, end in self._patterns.find(level.text.translate(FOLD)):
                first, last = level.starts[start], level.ends[end - 1]
                hidden[first:last] = b"\1" * (last - first)
            if depth == MAX_ENCODINGS or not ENCODED.search(level.text):
                break
            level = _decode(level)
        return _masked(text, hidden)

    @cached_property
    def _patterns(self) -> _Patterns:
        return _Patterns(self._secrets)

    @cached_property
    def _columns(self) -> frozenset[str]:
        return frozenset(_column(name) for name in self._fields)

    def _without_fields(self, text: str) -> str:
        parts = []
        done = 0
        for member in MEMBER.finditer(text):
            if member.start() < done or not self._is_excluded(member["name"]):
                continue
            parts += [text[done : member.end()], MASK]
            done = _end_of_value(text, member.end())
        return "".join(parts) + text[done:]

    def _is_excluded(self, name: str) -> bool:
        plain = _plain(name)
        return plain in self._fields or _column(plain) in self._columns


class _Level(NamedTuple):
    """A text after a number of decodings: each character with its start and end in the original text."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]


class _Patterns:
    """The patterns to mask: runs of fixed length, and shorter secrets as a whole."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._runs: set[str] = set()
        self._whole: set[str] = set()
        self._hex_runs: set[str] = set()
        for secret in secrets:
            # a secret that contains encoded characters may be echoed decoded
            for form in dict.fromkeys((secret, _plain(secret))):
                self._add(form)

    def _add(self, secret: str) -> None:
        folded = secret.translate(FOLD)
        short = len(secret) < RUN
        if short:
            self._whole.add(folded)
        else:
            self._runs |= {folded[at : at + RUN] for at in range(len(folded) - RUN + 1)}
        octets = secret.encode(errors="surrogatepass")
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + octets).decode().rstrip("=")
            # the characters of base64 that depend on the secret alone
            inner = coded[-(-shift * 8 // 6) : (shift + len(octets)) * 8 // 6].translate(FOLD)
            if len(inner) >= RUN:
                self._runs |= {inner[at : at + RUN] for at in range(len(inner) - RUN + 1)}
            elif len(inner) > RUN // 2:
                self._whole.add(inner)
        digits = octets.hex()
        if not short:
            self._hex_runs |= {digits[at : at + 2 * RUN] for at in range(0, len(digits) - 2 * RUN + 1, 2)}
        elif len(digits) >= RUN:
            self._whole.add(digits)

    def find(self, folded: str) -> Iterator[tuple[int, int]]:
        """Start and end of each match in a folded text; matches may overlap."""
        runs = self._runs
        if runs:
            for at in range(len(folded) - RUN + 1):
                if folded[at : at + RUN] in runs:
                    yield at, at + RUN
        if self._hex_runs:
            for digits in HEX.finditer(folded):
                for at in range(digits.start(), digits.end() - 2 * RUN + 1):
                    if folded[at : at + 2 * RUN] in self._hex_runs:
                        yield at, at + 2 * RUN
        for whole in self._whole:
            at = folded.find(whole)
            while at >= 0:
                yield at, at + len(whole)
                at = folded.find(whole, at + len(whole))


def _decode(level: _Level) -> _Level:
    """The text with each encoded character decoded once."""
    starts: list[int] = []
    ends: list[int] = []
    parts: list[str] = []
    text, before, after = level.text, list(level.starts), list(level.ends)
    done = 0
    for unit in UNIT.finditer(text):
        character = _character(unit)
        if character is None:
            continue
        parts += [text[done : unit.start()], character]
        starts += before[done : unit.start()]
        ends += after[done : unit.start()]
        starts.append(before[unit.start()])
        ends.append(after[unit.end() - 1])
        done = unit.end()
    return _Level("".join(parts) + text[done:], starts + before[done:], ends + after[done:])


def _character(unit: re.Match[str]) -> str | None:
    """The character that an encoded one stands for; ``None`` for none or several."""
    if unit["percent"]:
        text = bytes.fromhex(unit["percent"].replace("%", "")).decode("utf-8", "ignore")
    elif unit["pair"]:
        octets = bytes.fromhex(unit["pair"].replace("\\u", "").replace("\\U", ""))
        text = octets.decode("utf-16-be", "ignore")
    elif unit["code"]:
        text = chr(int.from_bytes(bytes.fromhex(unit["code"][2:])))
    elif unit["short"]:
        text = SHORT_ESCAPES.get(unit["short"], unit["short"])
    else:
        text = html.unescape(unit["entity"])
    return text if len(text) == 1 else None


def _plain(text: str) -> str:
    """``text``, decoded up to ``MAX_ENCODINGS`` times."""
    level = _Level(text, range(len(text)), range(len(text)))
    for _ in range(MAX_ENCODINGS):
        if not ENCODED.search(level.text):
            break
        level = _decode(level)
    return level.text


def _masked(text: str, hidden: bytearray) -> str:
    """``text`` with a mask in place of each run of characters whose byte in ``hidden`` is 1."""
    parts = []
    done = 0
    for run in re.finditer(b"\x01+", hidden):
        parts += [text[done : run.start()], MASK]
        done = run.end()
    return "".join(parts) + text[done:]


def _end_of_value(text: str, start: int) -> int:
    """The end of the JSON value at ``start``; the end of the text if the value is cut off."""
    depth = 0
    at = start
    while at < len(text):
        quote = _quote_at(text, at)
        if quote:
            at = _end_of_string(text, at + len(quote), quote)
        elif text[at] in "{[":
            depth += 1
            at += 1
        elif text[at] in "}]":
            if depth == 0:
                return at
            depth -= 1
            at += 1
        elif depth:
            at += 1
        else:
            match = SCALAR.match(text, at)
            return match.end() if match and match.end() > at else at
        if depth == 0:
            return at
    return len(text)


def _quote_at(text: str, at: int) -> str:
    match = QUOTE.match(text, at)
    return match[0] if match else ""


def _end_of_string(text: str, start: int, quote: str) -> int:
    r"""The end of the string that ``quote`` opened.

    JSON within JSON doubles the backslashes: a string opened by ``\"`` ends at ``\"``, not at ``\\\"``.
    """
    slashes = quote.count("\\")
    mark = quote[slashes:]
    at = start
    while (at := text.find(mark, at)) >= 0:
        before = at
        while before > start and text[before - 1] == "\\":
            before -= 1
        at += len(mark)
        surplus = at - len(mark) - before - slashes
        if surplus < 0 or surplus % (2 * (slashes + 1)) == 0:
            return at
    return len(text)


@cache
def _column(name: str) -> str:
    """The name of the column that dlt stores a field in."""
    # dlt takes a second to import, and most texts do not need it
    from dlt.common.normalizers.naming.snake_case import NamingConvention  # noqa: PLC0415

    return NamingConvention().normalize_identifier(name) if name.strip() else ""
