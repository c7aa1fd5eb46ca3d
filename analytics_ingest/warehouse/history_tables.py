"""Writes the versions of rows: compares a table with the last versions, and appends what differs.

A table is compared with its last versions, whatever a sync has loaded. So a sync that is killed before it wrote its
versions loses none: the next sync finds the same difference. Nothing is written twice, as there is no difference then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analytics_ingest.warehouse.column_changes import ColumnChanges, sql_text
from analytics_ingest.warehouse.history_names import (
    ALL_CHANGES,
    CHANGED_AT,
    CHANGES,
    META,
    OPERATION,
    OWN_VIEW,
    SEEN_AT,
    VALID_FROM,
    VALID_TO,
    as_of_view,
    history_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from dlt.destinations.job_client_impl import SqlJobClientBase
    from dlt.destinations.sql_client import SqlClientBase

    from analytics_ingest.warehouse.column_changes import ColumnChanger

OWN_COLUMNS = (OPERATION, SEEN_AT, CHANGED_AT)
AT = '"at"'
"""Quoted, as the word is DuckDB's in newer versions."""
# aliases that no column has: DuckDB reads ``t."id"`` as a part of the column ``t``, if that holds JSON
ROW, LAST, FORMER, VERSION, PLACE, BEFORE = "__row", "__last", "__former", "__version", "__place", "__before_"


@dataclass(frozen=True, kw_only=True)
class HistorySql:
    """What differs in the SQL of a destination.

    Attributes:
        json_of: A value as JSON.
        json_object: An object of names and values.
        json_collect: The aggregate of names and values to an object.
        comparable_json: A JSON value, ``{0}``, in a form that can be compared.
        comments_on_views: Whether a view can have a comment.
        has_changes: Whether there are views of changes.
        lock: A statement that keeps others from changing the schema of all changes within a transaction.
    """

    json_of: str = "to_json"
    json_object: str = "json_object"
    json_collect: str = "json_group_object"
    comparable_json: str = "{0}"
    comments_on_views: bool = True
    has_changes: bool = True
    lock: str = ""


@dataclass(frozen=True, kw_only=True)
class TableHistory:
    """An endpoint's table as its history sees it.

    Attributes:
        api: The API's name.
        table: The table, which is named as the endpoint.
        key: The columns of its key.
        columns: The columns that versions have and their types in the table, in dlt's terms; those of the key first.
        wide: The types that these columns have to have in the table of versions.
        history: The columns of the table of versions and their types; empty if there is none.
        row_hash: The column with the hash of a row.
        deleted_at: The column with a value in rows that are marked as deleted; empty if the table has none.
        times: Columns with the vendor's time of the row's last change; the first with a value counts.
        name: The column with the name that people know a row by; empty if there is none.
        unversioned: Columns of which a change makes no version.
    """

    api: str
    table: str
    key: Sequence[str]
    columns: Mapping[str, str]
    row_hash: str
    deleted_at: str
    wide: Mapping[str, str] = field(default_factory=dict)
    history: Mapping[str, str] = field(default_factory=dict)
    times: Sequence[str] = ()
    name: str = ""
    unversioned: Sequence[str] = ()

    @property
    def compared(self) -> list[str]:
        """The columns of which a change makes a version."""
        return [name for name in self.columns if name not in (self.row_hash, *self.key, *self.unversioned)]


class HistoryTables:
    """The tables of versions of one dataset, over an open connection.

    Attributes:
        has_changes: Whether the destination has views of changes.
    """

    def __init__(self, client: SqlJobClientBase, changer: ColumnChanger, sql: HistorySql) -> None:
        """Takes an open connection.

        Args:
            client: An open connection to the dataset.
            changer: Changes columns in the destination.
            sql: What differs in its SQL.
        """
        self._client: Any = client
        self._sql: SqlClientBase[Any] = client.sql_client
        self._changer = changer
        self._dialect = sql
        self.has_changes = sql.has_changes

    def begin(self, table: TableHistory, *, seen_at: datetime) -> None:
        """Creates the table of versions, with one ``baseline`` for each present row, and its view.

        Args:
            table: The table.
            seen_at: When the sync started, UTC.
        """
        values = ", ".join(f"{ROW}.{self._quoted(name)}" for name in table.columns)
        present = f"WHERE {ROW}.{self._quoted(table.deleted_at)} IS NULL" if table.deleted_at else ""
        with self._sql.begin_transaction():
            self._sql.execute_sql(
                f"CREATE TABLE {self._name(history_table(table.table))} AS "  # noqa: S608
                f"SELECT {values}, CAST('baseline' AS VARCHAR) AS {OPERATION}, "
                f"CAST(%s AS TIMESTAMPTZ) AS {SEEN_AT}, CAST(NULL AS TIMESTAMPTZ) AS {CHANGED_AT} "
                f"FROM {self._name(table.table)} AS {ROW} {present}",
                seen_at,
            )
            self._replace_as_of(table.table, table.key, list(table.columns))

    def fit(self, table: TableHistory) -> bool:
        """Gives the table of versions the columns that it has to have, and remakes its view.

        Returns:
            Whether anything was changed.

        Raises:
            WarehouseError: An object that a user has created prevents it.
        """
        history = table.history
        added = {name: kind for name, kind in table.wide.items() if name not in history}
        types = {name: (history[name], kind) for name, kind in table.wide.items() if history.get(name, kind) != kind}
        if not added and not types:
            return False
        name = history_table(table.table)
        with self._sql.begin_transaction():
            for column, kind in added.items():
                self._sql.execute_sql(
                    f"ALTER TABLE {self._name(name)} ADD COLUMN {self._quoted(column)} {self._type(kind)}"
                )
            if types:
                self._changer.apply_within(ColumnChanges(table=name, types=types))
            columns = [column for column in (*history, *added) if column not in OWN_COLUMNS]
            self._replace_as_of(table.table, table.key, columns)
        return True

    def rename(self, table: str, key: Sequence[str], renamed: Mapping[str, str]) -> None:
        """Gives columns of a table of versions the names that the table's columns get, if there is one.

        Args:
            table: The table.
            key: The columns of its key, by their new names.
            renamed: New names, by the name of the column.

        Raises:
            WarehouseError: An object that a user has created prevents it.
        """
        name = history_table(table)
        columns = self._columns(name)
        if changes := {was: now for was, now in renamed.items() if was in columns and now not in columns}:
            with self._sql.begin_transaction():
                # PostgreSQL replaces no view whose columns have other names
                self._sql.execute_sql(f"DROP VIEW IF EXISTS {self._name(as_of_view(table))}")
                self._changer.apply_within(ColumnChanges(table=name, renamed=changes))
                shown = [changes.get(each, each) for each in columns if each not in OWN_COLUMNS]
                self._replace_as_of(table, key, shown)

    def append(
        self,
        table: TableHistory,
        *,
        seen_at: datetime,
        since: datetime | None,
        is_redeclared: bool,
        is_whole: bool,
    ) -> dict[str, int]:
        """Appends a version for each row that differs from its last one; gives their number by operation.

        Args:
            table: The table, whose ``history`` has all of its columns.
            seen_at: When the sync started, UTC.
            since: When the sync before it started, UTC; ``None`` if that is unknown.
            is_redeclared: Whether the declaration has changed since the last versions: a row without a new time of
                the vendor's has changed by that.
            is_whole: Whether the table has every row: one that it lost was deleted.
        """
        statement, values = self._differences(
            table, seen_at=seen_at, since=since, is_redeclared=is_redeclared, is_whole=is_whole
        )
        columns = self._list((*table.columns, *OWN_COLUMNS))
        with self._sql.begin_transaction():
            found = self._sql.execute_sql(
                f"SELECT {OPERATION}, count(*) FROM ({statement}) AS {VERSION} GROUP BY 1",  # noqa: S608
                *values,
            )
            counts = {str(name): int(number) for name, number in found or ()}
            if counts:
                history = self._name(history_table(table.table))
                self._sql.execute_sql(f"INSERT INTO {history} ({columns}) {statement}", *values)
        return counts

    def prune(self, table: TableHistory, *, before: datetime) -> None:
        """Deletes the versions that another one replaced before a time, UTC."""
        history = self._name(history_table(table.table))
        self._sql.execute_sql(
            f"DELETE FROM {history} AS {VERSION} WHERE EXISTS (SELECT 1 FROM {history} AS {LAST} "  # noqa: S608
            f"WHERE {self._same(table.key, LAST, VERSION)} "
            f"AND {LAST}.{SEEN_AT} > {VERSION}.{SEEN_AT} AND {LAST}.{SEEN_AT} < %s)",
            before,
        )

    # the difference between a table and its last versions

    def _differences(
        self,
        table: TableHistory,
        *,
        seen_at: datetime,
        since: datetime | None,
        is_redeclared: bool,
        is_whole: bool,
    ) -> tuple[str, list[Any]]:
        """A query for the versions to append, and its values."""
        row_hash = self._quoted(table.row_hash)
        deleted, gone = self._deleted(table, ROW), self._deleted(table, "__table")
        # the hash alone also differs if a value came in another form, or an unversioned one changed
        differs = " OR ".join(self._differs(table, name) for name in table.compared)
        moved = self._moved(table) if is_redeclared else "TRUE"
        operation = (
            f"CASE WHEN {ROW}.{OPERATION} IS NULL THEN 'insert' WHEN {ROW}.{OPERATION} = 'delete' THEN 'restore' "
            f"WHEN {deleted} THEN 'delete' WHEN NOT ({moved}) THEN 'redeclared' ELSE 'update' END"
        )
        # a clock that was set back must not put a version before the last one
        seen = (
            f"CASE WHEN {ROW}.{SEEN_AT} >= CAST(%s AS TIMESTAMPTZ) THEN {ROW}.{SEEN_AT} + INTERVAL '1 microsecond' "
            "ELSE CAST(%s AS TIMESTAMPTZ) END"
        )
        values: list[Any] = [seen_at, seen_at]
        changed = "CAST(NULL AS TIMESTAMPTZ)"
        if table.times and since is not None:
            time = self._time(table, ROW)
            changed = (
                f"CASE WHEN NOT ({deleted}) AND {time} > CAST(%s AS TIMESTAMPTZ) AND {time} <= CAST(%s AS TIMESTAMPTZ) "
                f"AND ({ROW}.{SEEN_AT} IS NULL OR {time} > {ROW}.{SEEN_AT}) THEN {time} END"
            )
            values += [since, seen_at]
        history, key = self._name(history_table(table.table)), table.key
        # the window takes the columns that it needs, as it sorts every version
        narrow = self._list((*key, table.row_hash, *OWN_COLUMNS[:2]))
        rows = self._name(table.table)
        statement = (
            f"WITH __all AS (SELECT {narrow}, row_number() OVER (PARTITION BY {self._list(key)} "  # noqa: S608
            f"ORDER BY {SEEN_AT} DESC) AS {PLACE} FROM {history}), "
            f"{LAST} AS (SELECT {narrow} FROM __all WHERE {PLACE} = 1), "
            f"{ROW} AS (SELECT __table.*, {LAST}.{OPERATION} AS {OPERATION}, {LAST}.{SEEN_AT} AS {SEEN_AT} "
            f"FROM {rows} AS __table LEFT JOIN {LAST} ON {self._has_key(table, LAST, '__table')} "
            f"WHERE CASE WHEN {LAST}.{OPERATION} IS NULL OR {LAST}.{OPERATION} = 'delete' "
            f"THEN NOT ({gone}) ELSE ({gone}) OR __table.{row_hash} IS DISTINCT FROM {LAST}.{row_hash} END) "
            f"SELECT {', '.join(self._value(table, name) for name in table.columns)}, {operation} AS {OPERATION}, "
            f"{seen} AS {SEEN_AT}, {changed} AS {CHANGED_AT} FROM {ROW} LEFT JOIN {history} AS {FORMER} "
            f"ON {self._has_key(table, FORMER, ROW)} AND {FORMER}.{SEEN_AT} = {ROW}.{SEEN_AT} "
            f"WHERE {ROW}.{OPERATION} IS NULL OR {ROW}.{OPERATION} = 'delete' OR ({deleted}) OR ({differs or 'FALSE'})"
        )
        if is_whole:
            kept = ", ".join(f"{FORMER}.{self._quoted(name)}" for name in table.columns)
            statement += (
                f" UNION ALL SELECT {kept}, 'delete', {seen.replace(ROW, LAST)}, CAST(NULL AS TIMESTAMPTZ) "  # noqa: S608
                f"FROM {LAST} JOIN {history} AS {FORMER} ON {self._same(key, FORMER, LAST)} "
                f"AND {FORMER}.{SEEN_AT} = {LAST}.{SEEN_AT} WHERE {LAST}.{OPERATION} <> 'delete' "
                f"AND NOT EXISTS (SELECT 1 FROM {rows} AS __table WHERE {self._has_key(table, LAST, '__table')})"
            )
            values += [seen_at, seen_at]
        return statement, values

    def _differs(self, table: TableHistory, name: str) -> str:
        """Whether a column of a row differs from that of its last version."""
        values = [self._value(table, name), f"{FORMER}.{self._quoted(name)}"]
        if table.wide.get(name, table.columns[name]) == "json":
            values = list(map(self._dialect.comparable_json.format, values))
        return " IS DISTINCT FROM ".join(values)

    def _deleted(self, table: TableHistory, alias: str) -> str:
        """Whether a row is marked as deleted."""
        return f"{alias}.{self._quoted(table.deleted_at)} IS NOT NULL" if table.deleted_at else "FALSE"

    def _moved(self, table: TableHistory) -> str:
        """Whether the vendor's time of a row differs from that of its last version."""
        return f"{self._time(table, ROW)} IS DISTINCT FROM {self._time(table, FORMER)}" if table.times else "FALSE"

    def _time(self, table: TableHistory, alias: str) -> str:
        return f"coalesce({', '.join(f'{alias}.{self._quoted(name)}' for name in table.times)})"

    def _value(self, table: TableHistory, name: str, alias: str = ROW) -> str:
        """A column of the table, converted to the type that versions have."""
        was = table.columns[name]
        return self._changer.converted(f"{alias}.{self._quoted(name)}", was, table.wide.get(name, was))

    def _has_key(self, table: TableHistory, version: str, row: str) -> str:
        """Whether a version has the key of a row: a table that was made anew may have a narrower type."""
        return " AND ".join(f"{version}.{self._quoted(name)} = {self._value(table, name, row)}" for name in table.key)

    # views

    def _replace_as_of(self, table: str, key: Sequence[str], columns: Sequence[str]) -> None:
        """Creates or replaces the view of versions with their validity, within a transaction.

        It keeps the order of the columns that it has, and new ones come last: PostgreSQL takes no other order.
        """
        name = as_of_view(table)
        at = f"coalesce({CHANGED_AT}, {SEEN_AT})"
        shown = list(dict.fromkeys((*self._columns(name), *columns, *OWN_COLUMNS, VALID_FROM, VALID_TO)))
        self._replace_view(
            self._name(name),
            f"SELECT {self._list(shown)} FROM (SELECT {self._list((*columns, *OWN_COLUMNS))}, {at} AS {VALID_FROM}, "  # noqa: S608
            f"lead({at}) OVER (PARTITION BY {self._list(key)} ORDER BY {SEEN_AT}) AS {VALID_TO} "
            f"FROM {self._name(history_table(table))}) AS __versions WHERE {OPERATION} <> 'delete'",
        )

    def replace_changes(self, tables: Sequence[TableHistory]) -> None:
        """Replaces the view of the API's changes.

        Args:
            tables: Every table of the API that has a history, with the columns of its versions; at least one.
        """
        with self._sql.begin_transaction():
            self._replace_view(self._name(CHANGES), " UNION ALL ".join(self._changes_of(table) for table in tables))

    def replace_all_changes(self) -> None:
        """Replaces the view of all APIs' changes in this database, in a schema of its own."""
        with self._sql.begin_transaction():
            if self._dialect.lock:
                self._sql.execute_sql(self._dialect.lock)
            datasets = self._datasets()
            # PostgreSQL asks for the privilege also if the schema exists
            if not self._sql.execute_sql(
                "SELECT 1 FROM information_schema.schemata "
                "WHERE schema_name = %s AND catalog_name = current_database()",
                META,
            ):
                self._sql.execute_sql(f"CREATE SCHEMA {META}")
            self._replace_view(
                f"{META}.{ALL_CHANGES}",
                " UNION ALL ".join(
                    f"SELECT {AT}, api, endpoint, key, name, operation, fields FROM {self._quoted(each)}.{CHANGES}"  # noqa: S608
                    for each in datasets
                ),
            )

    def _changes_of(self, table: TableHistory) -> str:
        """A query for the changes of a table, as the view has them."""
        sql = self._dialect
        beside = {*OWN_COLUMNS, table.row_hash, *table.key, *table.unversioned}
        fields = [each for each in table.history if each not in beside]
        before = {each: self._quoted(f"{BEFORE}{place}") for place, each in enumerate(fields)}
        # null also if the version before it is not kept any longer
        lags = f", lag({OPERATION}) OVER __versions AS {BEFORE}"
        lags += "".join(f", lag({self._quoted(each)}) OVER __versions AS {former}" for each, former in before.items())
        pairs = ", ".join(
            f"({sql_text(each)}, {self._json(table, each, former)}, {self._json(table, each, self._quoted(each))})"
            for each, former in before.items()
        )
        changed = (
            f"(SELECT {sql.json_collect}(__field, {sql.json_object}('before', __before, 'after', __after)) "  # noqa: S608
            f"FROM (VALUES {pairs}) AS __fields(__field, __before, __after) WHERE __before IS DISTINCT FROM __after)"
        )
        key = " || '/' || ".join(f"CAST({VERSION}.{self._quoted(each)} AS VARCHAR)" for each in table.key)
        # PostgreSQL keeps no cast of a text to text in a view, whose type would then change with the column's
        name = f"CAST({VERSION}.{self._quoted(table.name)} AS VARCHAR) || ''" if table.name else "NULL"
        return (
            f"SELECT coalesce({VERSION}.{CHANGED_AT}, {VERSION}.{SEEN_AT}) AS {AT}, "  # noqa: S608
            f"CAST({sql_text(table.api)} AS VARCHAR) AS api, CAST({sql_text(table.table)} AS VARCHAR) AS endpoint, "
            f"{key} AS key, CAST({name} AS VARCHAR) AS name, CAST({VERSION}.{OPERATION} AS VARCHAR) AS operation, "
            f"CASE WHEN {VERSION}.{OPERATION} IN ('update', 'restore') AND {VERSION}.{BEFORE} IS NOT NULL "
            f"THEN {changed if fields else 'NULL'} END "
            f"AS fields FROM (SELECT {self._list([*table.history])}{lags} "
            f"FROM {self._name(history_table(table.table))} "
            f"WINDOW __versions AS (PARTITION BY {self._list(table.key)} ORDER BY {SEEN_AT})) AS {VERSION} "
            f"WHERE {VERSION}.{OPERATION} NOT IN ('baseline', 'redeclared')"
        )

    def _json(self, table: TableHistory, column: str, name: str) -> str:
        """A column of a version, or of the one before, as JSON; a time in the same form on every destination."""
        value = f"{VERSION}.{name}"
        if table.history[column] == "timestamp":
            value = self._changer.converted(value, "timestamp", "text")
        return f"{self._dialect.json_of}({value})"

    def _datasets(self) -> list[str]:
        """The schemas of the database that have a view of changes."""
        rows = self._sql.execute_sql(
            "SELECT table_schema FROM information_schema.views WHERE table_name = %s AND table_catalog = "
            "current_database() ORDER BY 1",
            CHANGES,
        )
        return list(dict.fromkeys(str(row[0]) for row in rows or ()))

    def _replace_view(self, name: str, query: str) -> None:
        self._sql.execute_sql(f"CREATE OR REPLACE VIEW {name} AS {query}")
        if self._dialect.comments_on_views:
            self._sql.execute_sql(f"COMMENT ON VIEW {name} IS '{OWN_VIEW}: remade by syncs'")

    # names

    def _columns(self, table: str) -> list[str]:
        """The columns of a table or a view, in order."""
        rows = self._sql.execute_sql(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
            "AND table_catalog = current_database() ORDER BY ordinal_position",
            self._sql.dataset_name,
            table,
        )
        return [str(row[0]) for row in rows or ()]

    def _same(self, key: Sequence[str], one: str, other: str) -> str:
        return " AND ".join(f"{one}.{self._quoted(name)} = {other}.{self._quoted(name)}" for name in key)

    def _list(self, columns: Sequence[str]) -> str:
        return ", ".join(map(self._quoted, columns))

    def _type(self, kind: str) -> str:
        found: str = self._client.type_mapper.to_destination_type(
            {"name": "value", "data_type": kind}, {"name": "table"}
        )
        return found

    def _quoted(self, column: str) -> str:
        return self._sql.escape_column_name(column)

    def _name(self, table: str) -> str:
        return self._sql.make_qualified_table_name(table)
