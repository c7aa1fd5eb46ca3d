"""Generated rows: any JSON that an upstream may send, with keys, times and names of every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from analytics_ingest_tests.trials import KEY, Rows, dumped

NUMBERS = [
    *(0, 1, -1, 3, 7, 42, 2**31, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1),
    *(2**64 - 1, 2**64, 10**30, 0.0, -0.0, 0.375, 1.5, 2.0, 1e15, 1e16, 123456789012345680.0, 1e300, -1e300, 5e-324),
    *(1e-7, 9007199254740993.0, 1_767_225_600, 1_767_225_600_000),
]
TEXTS = [
    *("", " ", "x", "42", "007", "-7", "true", "null", "NaN", "Infinity", "1e5", "0x10", "a\x00b", "\x00", "\x7f"),
    *("\ud83d", "a\ude00b", "\ufeffbom", "\u202eright", "\u2028", "🦆", "ǅ", "ﬃ", "e\u0301", "é", "名前", "שלום"),
    *("\uf0261.5", "\uf0272026-01-01", "\uf028", "'; DROP TABLE things; --", '"', "\\", "\\u0000", "\\\\u0000"),
    *("%s", "{0}", "${x}", "![](http://127.0.0.1/x)", "<b>", "a,b\nc\t\r", "=1+1", KEY, f"key {KEY}", "y" * 3_000),
    *("2026-01-01", "2026-01-01T00:00:00Z", "20260101120000", "0001-01-01T00:00:00+14:00", "[1]", '{"a": 1}'),
]
TIMES: list[Any] = [
    *(
        "2026-01-01T00:00:00Z",
        "2026-01-02T03:04:05.678901+05:30",
        "2026-01-01",
        "2026-01-01 00:00:00",
        "20260101T000000Z",
    ),
    *("2026-01-01T24:00:00Z", "2016-12-31T23:59:60Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z", "soon", "", None, 0, -1),
    *(1_767_225_600, 1_767_225_600_123, 1_767_225_600_123_456, 1_767_225_600.5, "1767225600", "20260101120000", 2**63),
    *(1e300, True, {}, [], {"at": "2026-01-01T00:00:00Z"}, "2999-01-01T00:00:00Z"),
]
KEYS: list[Any] = [
    *(
        1,
        2,
        3,
        7,
        10,
        2**53 + 1,
        2**63 - 1,
        2**63,
        10**25,
        1.5,
        2.0,
        True,
        False,
        "1",
        "7",
        "007",
        "a",
        "A",
        "ä",
        "b c",
    ),
    *("a/b", "x?y#z", "%41", "..", ".", "", " ", "名", "e\u0301", "é", "\ufeff", "a\x00", "'", '"', "true", "1.5"),
    *("2026-01-01T00:00:00Z", None, [], {}, [1], "\ud83d", "k" * 500, KEY),
]
NAMES = [
    *(
        "name",
        "Name",
        "NAME",
        "value",
        "a.b",
        "a_b",
        "a-b",
        "aB",
        "名前",
        "价格",
        "",
        " ",
        "unnamed",
        "d",
        "s",
        "D",
        "x",
    ),
    *(
        "_row_hash",
        "_rowHash",
        "_deleted_at",
        "_dlt_id",
        "_dltLoadId",
        "ctid",
        "rowid",
        "select",
        'q"q',
        "q'q",
        "a;b",
        "%s",
    ),
    *(
        "holdoutIDs",
        "holdout_ids",
        "holdout_i_ds",
        "1a",
        "n" * 70,
        "n" * 69 + "N",
        "value__v_text",
        "__",
        "a\x00",
        "{x}",
    ),
    *(
        "thing_id",
        "thingId",
        "sent_thing_id",
        "created_at",
        "seen_at",
        "due_on",
        "ID",
        "Id",
        "\ud83d",
        "🦆",
        "_operation",
    ),
]
HEADERS: list[Mapping[str, str]] = [
    {},
    {"X-Total-Count": "5", "Link": "<x>; rel=next"},
    {"X-RateLimit-Reset": "soon", "X-RateLimit-Remaining": "many"},
    {"X-Text": "caf\u00e9", "Set-Cookie": "a=b; Secure"},
]
ENVELOPES: list[Mapping[str, Any] | None] = [
    None,
    {"meta": {"a": [1, None]}, "took": 0.5},
    {"errors": [], "warnings": None, "success": True},
    {"": 1, "data2": [1, 2], "id": "of the envelope"},
]


def nested(levels: int, inner: Any) -> Any:
    value = inner
    for level in range(levels):
        value = [value] if level % 2 else {"n": value}
    return value


NESTED = [
    *([], {}, [None], [[]], {"a": None}, {"": {"": ""}}, [1, "x", None, True, 0.5], {"a": [{"b": "\ud83d"}]}),
    *({"k\x00": "v\x00"}, [2**70, 2**64], {"t": "2026-01-01T00:00:00Z"}, ["\uf0261.5"], {"b": 1, "a": 2}, [0.1, 1e300]),
    *(nested(5, 1), nested(260, "x"), nested(900, None), {str(n): n for n in range(200)}),
]
SCALARS = [*NUMBERS, *TEXTS, True, False, None]
VALUES = [*SCALARS, *NESTED]
"""Values of every kind."""


def values() -> st.SearchStrategy[Any]:
    """Any value, most of them off the lists above."""
    text = st.text(st.characters(exclude_categories=[]), max_size=8)
    drawn = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), text)
    return st.one_of(st.sampled_from(VALUES), st.sampled_from(VALUES), drawn)


class Trials:
    """Rows of two syncs, one after the other."""

    def __init__(self, first: Rows, second: Rows, *, oversized: bool) -> None:
        self.first = first
        self.second = second
        self.oversized = oversized

    def __repr__(self) -> str:
        """As JSON: some values are nested too deep for Python's."""
        sent = [
            {"things": each.things, "states": each.states, "parts": each.parts} for each in (self.first, self.second)
        ]
        return dumped(sent).decode()


@st.composite
def columns(draw: Callable[[st.SearchStrategy[Any]], Any]) -> dict[str, list[Any]]:
    """Some fields, and for each the values that its rows have: often of few kinds, as in real life."""
    text = st.text(st.characters(exclude_categories=[]), max_size=6)
    names = draw(st.lists(st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), text), max_size=7, unique=True))
    made = {}
    for name in names:
        if name in ("id", "marker"):
            continue
        pool = TIMES if name.endswith(("_at", "_on")) else None
        few = st.sampled_from(pool) if pool else values()
        made[name] = draw(st.lists(few, min_size=1, max_size=4))
    return made


@st.composite
def lists(draw: Callable[[st.SearchStrategy[Any]], Any], prefix: str, most: int, keyed: bool) -> list[list[Any]]:
    """Pages of rows; each row has a marker of its own, by which it is found again."""
    count = draw(st.integers(0, most))
    fields = draw(columns())
    many = draw(st.sampled_from(["whole", "text", "mixed"]))
    rows: list[Any] = []
    seen: set[tuple[type, str]] = set()
    for number in range(count):
        row: dict[str, Any] = {"marker": f"{prefix}{number}"}
        if keyed:
            plain = number + 100 if many == "whole" else f"key-{number}"
            row["id"] = draw(st.sampled_from(KEYS)) if many == "mixed" or draw(st.integers(0, 9)) == 0 else plain
            if many == "mixed" and rows and draw(st.booleans()):
                # the key before, as a text: 7 and "7"
                row["id"] = path_text(rows[-1]["id"])
            if (type(row["id"]), repr(row["id"])) in seen:
                # of two rows of one key the later one is right, and that is another test's
                row["id"] = plain
            seen.add((type(row["id"]), repr(row["id"])))
        row["updated_at"] = draw(st.sampled_from(TIMES)) if draw(st.booleans()) else "2026-01-01T00:00:00Z"
        for name, pool in fields.items():
            if draw(st.integers(0, 3)):
                row[name] = draw(st.sampled_from(pool))
        rows.append(row)
    size = draw(st.integers(1, max(1, count)))
    return [rows[start : start + size] for start in range(0, count, size)]


@st.composite
def trials(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Trials:
    """What an API sends at one sync, and at the next."""
    things = draw(lists("t", 24, keyed=True))
    states = draw(lists("s", 8, keyed=False))
    parts = {}
    keys = [row["id"] for page in things for row in page if row.get("id") is not None]
    for number, key in enumerate(keys[:4]):
        parts[path_text(key)] = draw(lists(f"p{number}-", 6, keyed=True))
    envelope, headers = draw(st.sampled_from(ENVELOPES)), draw(st.sampled_from(HEADERS))
    first = Rows(things=things, states=states, parts=parts, wrap=envelope, headers=headers)
    fields = draw(columns())
    changed: list[list[Any]] = []
    for page in things:
        kept = []
        for row in page:
            move = draw(st.integers(0, 9))
            if move == 0:
                continue
            more = {name: draw(st.sampled_from(pool)) for name, pool in fields.items()} if move < 4 else {}
            kept.append({**row, **more})
        changed.append(kept)
    second = Rows(things=changed, states=draw(lists("s", 8, keyed=False)), parts=parts, wrap=envelope, headers=headers)
    return Trials(first, second, oversized=draw(st.sampled_from([False, False, False, True])))


def path_text(key: Any) -> str:
    """A key as it stands in a path."""
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, float):
        return str(int(key)) if key.is_integer() else repr(key)
    return str(key)
