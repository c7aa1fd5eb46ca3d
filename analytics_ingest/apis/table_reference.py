"""The reference pages of all tables and columns, from the declarations: ``make docs`` writes them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from analytics_ingest.apis.column_descriptions import COMMON, declared_columns, describe_columns
from analytics_ingest.apis.parents import Constants, DateRange, EachDay, JoinOf
from analytics_ingest.apis.registry import APIS, PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.apis.parents import ParentSource

HEAD = """\
<!-- `make docs` writes this page from the declarations in `analytics_ingest/apis/`: change the descriptions there. -->

# Tables of {title}

The tables of `{name}`{profile}, in the schema `{name}`.
{other}

- **Columns**: a column exists once a row had a value for it; the columns of the key exist from the first sync on. A
  field that is not listed here becomes a column too. Each table also has
  [columns beside the API's](../tables.md#columns-beside-the-apis), such as `_deleted_at`.
- **Types**: *as sent* means that the values decide the type ([types.md](../types.md)). Lists and objects are `json`.
- **Sync modes**: with *full*, a sync requests the whole list and loads the rows that are new or changed. With
  *incremental*, it requests the rows from the highest cursor value on. With *snapshot*, it requests the whole list and
  replaces the table if a row differs.
- **History**: the table `_history_<table>` has the versions of the rows, the view `<table>_as_of` has them with the
  time in which each holds ([history.md](../history.md)).
"""
SHARED = """\
## Columns of several tables

Any table of this page may have these columns too:
"""


def build_pages() -> dict[str, str]:
    """The text of each page below ``docs/reference``, by its file name."""
    pages = {}
    for name, api in APIS.items():
        profiles = PROFILES[name]
        links = ", ".join(f"[{each.title}]({profile}.md)" for profile, each in profiles.items())
        vendors = f"With a profile, the tables are the vendor's: {links}." if links else "It has no profile."
        pages[f"{name}.md"] = _page(api, other=vendors)
        for profile, each in profiles.items():
            other = f"[{each.title}](../vendors/{profile}.md) describes the key, limits and known gaps."
            pages[f"{profile}.md"] = _page(each, other=other)
    return pages


def _page(api: Api, *, other: str) -> str:
    profile = f" with the profile `{api.profile}`" if api.profile else ", without a profile"
    head = HEAD.format(name=api.name, title=api.title, profile=profile, other=other)
    tables = [
        (f"[`{each.name}`](#{each.name})", _names(each.primary_key) or "none", _sync_mode(each), _yes(each.history))
        for each in api.endpoints
    ]
    summary = _table(("table", "key", "sync mode", "history"), tables)
    sections = [_section(api, each) for each in api.endpoints]
    shared = {**COMMON, **api.columns}
    end = SHARED + "\n" + _table(("column", "what it has"), [(f"`{name}`", text) for name, text in shared.items()])
    return "\n".join([head, summary, *sections, end])


def _section(api: Api, endpoint: Endpoint) -> str:
    facts = [
        ("request", f"`{endpoint.method} {endpoint.path}`"),
        ("key", _names(endpoint.primary_key) or "none"),
        ("parents", _names(endpoint.upstream) or "none"),
        ("sync mode", _how_read(endpoint)),
        ("history", _yes(endpoint.history)),
    ]
    texts = describe_columns(api, endpoint)
    columns = [(f"`{name}`", _type(endpoint, name), texts.get(name, "")) for name in declared_columns(endpoint)]
    tables = _table(("", ""), facts), _table(("column", "type", "what it has"), columns)
    return "\n".join([f"## {endpoint.name}\n", f"{endpoint.description}\n", *tables])


def _sync_mode(endpoint: Endpoint) -> str:
    if not endpoint.primary_key:
        return "snapshot"
    return "incremental" if endpoint.start_param else "full"


def _how_read(endpoint: Endpoint) -> str:
    """How a sync reads the endpoint, in one line."""
    parts = [_sync_mode(endpoint)]
    if endpoint.start_param:
        parts.append(f"by {_names(endpoint.cursor_path[:1])}")
    if endpoint.whole_every:
        parts.append(f"and the whole list every {int(endpoint.whole_every.total_seconds() // 3600)} hours")
    text = " ".join(parts)
    if source := endpoint.parents:
        text = f"{text}, {_lists(source)}"
        if source.can_settle:
            text += "; only full refreshes request a list again that has stopped changing"
    return text


def _lists(source: ParentSource) -> str:
    """Which lists there are."""
    if isinstance(source, EachDay):
        return "a list for each day of the window"
    if isinstance(source, DateRange):
        return "one list of the days of the window"
    if isinstance(source, JoinOf):
        return f"a list for each pair of rows of {' and '.join(f'`{name}`' for name in source.resources)}"
    lists = []
    if source.resources:
        lists.append(f"each row of {' or '.join(f'`{name}`' for name in source.resources)}")
    if isinstance(source, Constants):
        setting = f"each value of the setting `{source.setting.upper()}`"
        lists.append(setting if source.setting else f"each of {_names(source.values)}")
    return f"a list for {', or '.join(lists)}"


def _type(endpoint: Endpoint, name: str) -> str:
    """The declared type of a column, in dlt's terms."""
    if name in endpoint.times:
        return "timestamp"
    return "double" if name in endpoint.doubles else "as sent"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [
        " | ".join(head),
        "|".join(["---"] * len(head)),
        *(" | ".join(_cell(each) for each in row) for row in rows),
    ]
    return "".join(f"| {line} |\n" if number != 1 else f"|{line}|\n" for number, line in enumerate(lines))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Writes the pages into the folder that the first argument names, and removes those of former declarations."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    pages = build_pages()
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
