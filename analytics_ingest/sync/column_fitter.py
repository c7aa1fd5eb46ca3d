"""Changes the columns of tables so that rows fit into them, before the rows are loaded."""

from __future__ import annotations

import re
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from analytics_ingest.errors import IngestError, ReadError
from analytics_ingest.extract.column_types import NONE, STORED, Kind, column_type
from analytics_ingest.timestamps import MICROSECONDS, MILLISECONDS, to_utc
from analytics_ingest.warehouse.column_changes import ColumnChanges
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.history_names import history_table
from analytics_ingest.warehouse.history_tables import HistoryTables

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Mapping

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.extract.endpoint_reader import EndpointReader
    from analytics_ingest.warehouse.cached_tables import CachedTables
    from analytics_ingest.warehouse.warehouse import Warehouse

VARIANT = re.compile(r"(?P<column>.+)__v_(?P<type>[a-z]+)")
"""A column that dlt made for values of another type, before columns were widened."""

TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})", re.ASCII)
"""Times as text that every destination reads alike."""


class ColumnFitter:
    """Changes the columns of tables, within ``Warehouse.open``, and those of children with their parents' keys.

    Attributes:
        columns: By table its columns and their types, in dlt's terms.
    """

    def __init__(
        self,
        api: Api,
        warehouse: Warehouse,
        tables: CachedTables,
        readers: Mapping[str, EndpointReader],
        columns: dict[str, dict[str, str]],
        *,
        log: logging.Logger,
    ) -> None:
        """Changes nothing yet.

        Args:
            api: The API.
            warehouse: Its part of the warehouse.
            tables: Its tables, which are open while columns are changed.
            readers: The endpoints under way, by name; the sync adds and removes them.
            columns: By table its columns and their types, in dlt's terms; kept up to date here.
            log: Gets a line for each change.
        """
        self._api = api
        self._warehouse = warehouse
        self._tables = tables
        self._readers = readers
        self._log = log
        self.columns = columns

    def fit(self, reader: EndpointReader) -> None:
        """Changes the columns of an endpoint's table for the rows to load next; the endpoint fails if they cannot be.

        Raises:
            WarehouseError: The destination fails.
        """
        name = reader.endpoint.name
        while not reader.has_failed:
            types, renamed = reader.columns.fix_types()
            if not (types or renamed):
                return
            large = [
                column
                for column, change in types.items()
                if change == ("bigint", "double") and self._tables.holds_large(name, column)
            ]
            if large:
                for column in large:
                    reader.columns.types.holds_large(column)
                continue
            try:
                self._change(ColumnChanges(table=name, types=types, renamed=renamed))
            except WarehouseError as error:
                if error.transient:
                    raise
                reader.fail(ReadError(f"its rows cannot be loaded: {error}"))

    def refresh(self, endpoint: Endpoint) -> None:
        """Gives the columns of a table, at a full refresh, the types that a new table would have.

        Variant columns that dlt made beside a column are merged into it. A timestamp column that is not declared as one
        becomes text. A column that was declared as one since then becomes a timestamp, if it holds nothing else.

        Raises:
            IngestError: An object that a user made depends on a column.
            WarehouseError: The destination fails.
        """
        there = self.columns.get(endpoint.name, {})
        folded: dict[str, dict[str, str]] = {}
        for name, kind in there.items():
            match = VARIANT.fullmatch(name)
            if match and match["column"] in there:
                folded.setdefault(match["column"], {})[name] = kind
        types = {
            name: (kind, self._wide_enough(endpoint, {name: kind, **folded[name]}))
            for name, kind in there.items()
            if name in folded
        }
        for name, kind in there.items():
            if name in folded or name.startswith("_"):
                continue
            if kind == "timestamp" and name not in endpoint.times:
                types[name] = (kind, "text")
            elif name in endpoint.times and kind in ("text", "bigint") and _holds_times(self._tables, endpoint, name):
                types[name] = (kind, "timestamp")
        changes = ColumnChanges(table=endpoint.name, types=types, folded=folded)
        if not changes:
            return
        try:
            self._change(changes)
        except WarehouseError as error:
            if error.transient:
                raise
            raise IngestError(f"its table cannot be refreshed: {error}") from None

    def _wide_enough(self, endpoint: Endpoint, columns: Mapping[str, str]) -> str:
        """The type that holds the values of several columns."""
        kinds = NONE
        for kind in columns.values():
            kinds |= STORED.get(kind, Kind.TEXT)
        wide = column_type(kinds)
        rounded = [name for name, kind in columns.items() if kind == "bigint"] if wide == "double" else []
        return "text" if any(self._tables.holds_large(endpoint.name, name) for name in rounded) else wide

    def _change(self, changes: ColumnChanges) -> None:
        self._tables.connect()
        for each in (changes, *self._children(changes)):
            if each.renamed and self._warehouse.keeps_history:
                # first: what is done twice after an interruption changes nothing
                key = self._api.by_name[each.table].primary_key
                self._warehouse.history(partial(HistoryTables.rename, table=each.table, key=key, renamed=each.renamed))
                self._tables.forget(history_table(each.table))
            self._warehouse.change_columns(each)
            self._tables.forget(each.table)
            types = {name: now for name, (_, now) in each.types.items()}
            dropped = [name for variants in each.folded.values() for name in variants]
            before = self.columns.get(each.table, {})
            after = {each.renamed.get(name, name): kind for name, kind in before.items() if name not in dropped}
            self.columns[each.table] = after | types
            if reader := self._readers.get(each.table):
                reader.columns.changed(types, renamed=each.renamed, dropped=dropped)
            changed = [f"{name} is {now} now, was {was}" for name, (was, now) in each.types.items() if was != now]
            changed += [f"{was} is called {now} now" for was, now in each.renamed.items()]
            changed += [f"{', '.join(variants)} are part of {name} now" for name, variants in each.folded.items()]
            self._log.warning(f"{self._api.name}/{each.table}: {'; '.join(changed)}")

    def _children(self, changes: ColumnChanges) -> Iterator[ColumnChanges]:
        """The same change in the tables of children that have a column of the parent as a path parameter."""
        if not changes.types:
            return
        for child in self._api.endpoints:
            given = child.parents.columns_of(changes.table) if child.parents else {}
            given = {param: column for param, column in given.items() if column in changes.types}
            if not given:
                continue
            if child.name not in self.columns:
                self.columns |= self._tables.columns([child.name])
            there = self.columns.get(child.name, {})
            types = {
                param: (there[param], "text")
                for param, column in given.items()
                if there.get(param, "text") != "text" and changes.types[column][1] in ("text", "json")
            }
            if types:
                found = ColumnChanges(table=child.name, types=types)
                yield found
                yield from self._children(found)


def _holds_times(tables: CachedTables, endpoint: Endpoint, column: str) -> bool:
    """Whether every value of a column is a time that the destination reads as ``to_utc`` does."""
    for (value,) in tables.read(endpoint.name, [column]):
        plain = (
            TIME.fullmatch(value) if isinstance(value, str) else value is None or MILLISECONDS <= value < MICROSECONDS
        )
        if not plain or not (value is None or isinstance(to_utc(value), datetime)):
            return False
    return True
