"""Changes the columns of a table in place, with the values that it holds: one class per destination."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from analytics_ingest.warehouse.exceptions import WarehouseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dlt.destinations.job_client_impl import SqlJobClientBase
    from dlt.destinations.sql_client import SqlClientBase

OWN_VIEW = "analytics_ingest"
"""Begins the comment on a view that the product has made: only such a view is dropped and made anew."""
MAX_EXACT = 2**53
"""The largest whole number below which a double holds every whole number."""
NEW = "__new"
"""Ends the name of a column, or of a table, that takes the place of another within a transaction."""


@dataclass(frozen=True, kw_only=True)
class ColumnChanges:
    """What is to change about the columns of a table, in this order.

    Attributes:
        table: The table.
        renamed: By the name of a column its new name.
        types: By column its type, in dlt's terms, and the one that it gets.
        folded: By column the variants that dlt made beside it, whose values it gets: the type of each. They are
            dropped.
    """

    table: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    folded: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is to change."""
        return bool(self.renamed or self.types or self.folded)


class ColumnChanger:
    """Changes columns by ``ALTER TABLE``, as DuckDB, PostgreSQL and DuckLake have it in common.

    Each class has the destination's SQL, with ``{0}`` for a value.

    Attributes:
        time_text: A timestamp as text, ISO 8601 in UTC with microseconds.
        number_text: A double as text, with the fewest digits that give the same number.
        parsed: JSON text as JSON.
        quoted: A text as a JSON string.
    """

    time_text: ClassVar[str]
    number_text: ClassVar[str]
    parsed: ClassVar[str]
    quoted: ClassVar[str]

    def __init__(self, client: SqlJobClientBase) -> None:
        """Takes an open connection to the dataset."""
        self._client: Any = client
        self._sql: SqlClientBase[Any] = client.sql_client

    def apply(self, changes: ColumnChanges) -> None:
        """Makes the changes, all or none.

        Raises:
            WarehouseError: Something of a user's stands in the way.
        """
        with self._sql.begin_transaction():
            self._apply(changes)

    def _apply(self, changes: ColumnChanges) -> None:
        table = self._table(changes.table)
        for name, now in changes.renamed.items():
            self._sql.execute_sql(f"ALTER TABLE {table} RENAME COLUMN {self._name(name)} TO {self._name(now)}")
        for name, (was, now) in changes.types.items():
            self._change_type(changes.table, name, was, now)
        for name, variants in changes.folded.items():
            kind = changes.types[name][1]
            for variant, was in variants.items():
                value = self.converted(self._name(variant), was, kind)
                self._sql.execute_sql(
                    f"UPDATE {table} SET {self._name(name)} = {value} "  # noqa: S608
                    f"WHERE {self._name(name)} IS NULL AND {self._name(variant)} IS NOT NULL"
                )
                self._sql.execute_sql(f"ALTER TABLE {table} DROP COLUMN {self._name(variant)}")

    def _change_type(self, table: str, name: str, was: str, now: str) -> None:
        column = self._name(name)
        self._sql.execute_sql(
            f"ALTER TABLE {self._table(table)} ALTER COLUMN {column} TYPE {self._type(now)} "
            f"USING {self.converted(column, was, now)}"
        )

    def converted(self, value: str, was: str, now: str) -> str:
        """SQL of a value of one type as another, in the form in which a sync writes it.

        Args:
            value: SQL of the value.
            was: Its type, in dlt's terms.
            now: The type that it gets.
        """
        if was == now:
            return value
        if now == "text":
            return self._as_text(value, was)
        if now == "timestamp":
            # whole numbers are milliseconds
            return f"CAST({value} AS TIMESTAMPTZ)" if was == "text" else f"to_timestamp({value} / 1000.0)"
        if now == "json":
            if was in ("text", "timestamp"):
                return self.quoted.format(self._as_text(value, was))
            plain = was in ("bigint", "double", "bool", "decimal", "wei")
            return (self.parsed if plain else self.quoted).format(self._as_text(value, was))
        return f"CAST({value} AS {self._type(now)})"

    def _as_text(self, value: str, was: str) -> str:
        if was == "timestamp":
            return f"replace({self.time_text.format(value)}, '.000000+00:00', '+00:00')"
        if was != "double":
            kind = self._type("text")
            return f"CAST({value} AS {kind})"
        whole = f"{value} = trunc({value}) AND abs({value}) <= {MAX_EXACT}"
        return (
            f"CASE WHEN {whole} THEN CAST(CAST({value} AS BIGINT) AS VARCHAR) ELSE {self.number_text.format(value)} END"
        )

    def _type(self, kind: str) -> str:
        found: str = self._client.type_mapper.to_destination_type(
            {"name": "value", "data_type": kind}, {"name": "table"}
        )
        return found

    def _table(self, table: str) -> str:
        return self._sql.make_qualified_table_name(table)

    def _name(self, column: str) -> str:
        return self._sql.escape_column_name(column)

    def _rows(self, sql: str, *values: Any) -> Sequence[Sequence[Any]]:
        return self._sql.execute_sql(sql, *values) or ()


class DuckDBColumns(ColumnChanger):
    """DuckDB: in place; for variants, and where a key, a constraint or an index stands in the way, by a copy."""

    time_text = "strftime(make_timestamp(epoch_us({0})), '%Y-%m-%dT%H:%M:%S.%f+00:00')"
    number_text = "CAST({0} AS VARCHAR)"
    parsed = "CAST({0} AS JSON)"
    quoted = "to_json({0})"

    def apply(self, changes: ColumnChanges) -> None:
        """See ``ColumnChanger.apply``."""
        kinds = "constraint_type IN ('PRIMARY KEY', 'UNIQUE', 'CHECK')"
        found = self._described("constraint_text", "duckdb_constraints()", changes.table, f"AND {kinds}")
        constraints = [str(row[0]) for row in found]
        found = self._described("sql", "duckdb_indexes()", changes.table, "AND sql IS NOT NULL")
        indexes = [str(row[0]) for row in found]
        # altered, updated and altered again in one transaction DuckDB refuses as it commits
        if not constraints and not indexes and not changes.folded:
            super().apply(changes)
            return
        with self._sql.begin_transaction():
            self._copy(changes, constraints, indexes)

    def _described(self, names: str, catalog: str, table: str, rest: str) -> Sequence[Sequence[Any]]:
        """What one of DuckDB's catalogs says of a table."""
        return self._rows(
            f"SELECT {names} FROM {catalog} "  # noqa: S608
            f"WHERE schema_name = %s AND table_name = %s AND database_name = current_database() {rest}",
            self._sql.dataset_name,
            table,
        )

    def _copy(self, changes: ColumnChanges, constraints: Sequence[str], indexes: Sequence[str]) -> None:
        names = "column_name, data_type, is_nullable"
        columns = self._described(names, "duckdb_columns()", changes.table, "ORDER BY column_index")
        dropped = {name for variants in changes.folded.values() for name in variants}
        specs, values = [], []
        for name, kind, nullable in columns:
            if name in dropped:
                continue
            now = changes.renamed.get(name, name)
            value = self._name(name)
            if now in changes.types:
                was, then = changes.types[now]
                kind = self._type(then)  # noqa: PLW2901 - as the column gets it
                value = self.converted(value, was, then)
                for variant, other in changes.folded.get(now, {}).items():
                    value = f"coalesce({value}, {self.converted(self._name(variant), other, then)})"
            specs.append(f"{self._name(now)} {kind}{'' if nullable else ' NOT NULL'}")
            values.append(value)
        table, copy = self._table(changes.table), self._table(changes.table + NEW)
        self._sql.execute_sql(f"CREATE TABLE {copy} ({', '.join([*specs, *constraints])})")
        self._sql.execute_sql(f"INSERT INTO {copy} SELECT {', '.join(values)} FROM {table}")  # noqa: S608
        self._sql.execute_sql(f"DROP TABLE {table}")
        self._sql.execute_sql(f"ALTER TABLE {copy} RENAME TO {self._name(changes.table)}")
        for sql in indexes:
            self._sql.execute_sql(sql)


class DuckLakeColumns(DuckDBColumns):
    """DuckLake: each column is rebuilt beside the old one, as it alters no type to text."""

    def apply(self, changes: ColumnChanges) -> None:
        """See ``ColumnChanger.apply``."""
        ColumnChanger.apply(self, changes)

    def _change_type(self, table: str, name: str, was: str, now: str) -> None:
        qualified, column, new = self._table(table), self._name(name), self._name(name + NEW)
        required = bool(
            self._rows(
                "SELECT 1 FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
                "AND column_name = %s AND is_nullable = 'NO' AND table_catalog = current_database()",
                self._sql.dataset_name,
                table,
                name,
            )
        )
        for sql in (
            f"ALTER TABLE {qualified} ADD COLUMN {new} {self._type(now)}",
            f"UPDATE {qualified} SET {new} = {self.converted(column, was, now)}",  # noqa: S608
            f"ALTER TABLE {qualified} DROP COLUMN {column}",
            f"ALTER TABLE {qualified} RENAME COLUMN {new} TO {column}",
        ):
            self._sql.execute_sql(sql)
        if required:
            self._sql.execute_sql(f"ALTER TABLE {qualified} ALTER COLUMN {column} SET NOT NULL")


@dataclass(frozen=True)
class _View:
    """A view that reads a column, as PostgreSQL describes it."""

    oid: int
    name: str
    is_own: bool
    definition: str
    comment: str
    grants: Sequence[tuple[str, str]]


class PostgresColumns(ColumnChanger):
    """PostgreSQL: views of the product's are dropped and made anew; a view of a user's is an error that names it."""

    time_text = """to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""
    number_text = (
        # a number has no exponent below 1e+16, as on the other destinations
        "CASE WHEN abs({0}) >= 1e15 AND abs({0}) < 1e16 THEN "
        "CAST(CAST(CAST({0} AS VARCHAR) AS NUMERIC) AS VARCHAR) || CASE WHEN {0} = trunc({0}) THEN '.0' ELSE '' END "
        "ELSE CAST({0} AS VARCHAR) END"
    )
    parsed = "CAST({0} AS JSONB)"
    quoted = "to_jsonb({0})"

    def _apply(self, changes: ColumnChanges) -> None:
        dropped = [name for variants in changes.folded.values() for name in variants]
        views = list(self._views(changes.table, [*changes.types, *dropped]))
        if foreign := [view.name for view in views if not view.is_own]:
            what = ", ".join(f"{name} from {was} to {now}" for name, (was, now) in changes.types.items())
            raise WarehouseError(
                f"{self._sql.dataset_name}.{changes.table}: the type of {what} has to change, and a view reads it: "
                f"{', '.join(foreign)}. Drop the view, sync, and create it again",
                transient=False,
            )
        for view in reversed(views):
            self._sql.execute_sql(f"DROP VIEW {view.name}")
        super()._apply(changes)
        for view in views:
            self._sql.execute_sql(f"CREATE VIEW {view.name} AS {view.definition}")
            self._sql.execute_sql(f"COMMENT ON VIEW {view.name} IS %s", view.comment)
            for grantee, privilege in view.grants:
                self._sql.execute_sql(f"GRANT {privilege} ON {view.name} TO {grantee}")

    def _views(self, table: str, columns: Sequence[str]) -> Iterator[_View]:
        """The views that read some columns, and those that read these, in an order in which they can be made."""
        if not columns:
            return
        found = self._rows(
            "WITH RECURSIVE reading(oid, depth) AS ("
            " SELECT r.ev_class, 1 FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid"
            " JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
            " WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = CAST(%s AS regclass) AND a.attname = ANY(%s)"
            " UNION SELECT r.ev_class, reading.depth + 1 FROM reading JOIN pg_depend d ON d.refobjid = reading.oid"
            " JOIN pg_rewrite r ON r.oid = d.objid"
            " WHERE d.classid = 'pg_rewrite'::regclass AND r.ev_class <> reading.oid AND reading.depth < 50"
            ") SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname),"
            " coalesce(obj_description(c.oid, 'pg_class'), ''), c.relkind::text, pg_get_viewdef(c.oid)"
            " FROM (SELECT oid, max(depth) AS depth FROM reading GROUP BY oid) AS v"
            " JOIN pg_class c ON c.oid = v.oid JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY v.depth, 2",
            self._table(table),
            list(columns),
        )
        for oid, name, comment, kind, definition in found:
            granted = self._rows(
                "SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,"
                " a.privilege_type FROM pg_class c, aclexplode(c.relacl) a"
                " WHERE c.oid = %s AND a.grantee <> c.relowner",
                oid,
            )
            yield _View(
                oid=oid,
                name=name,
                is_own=kind == "v" and comment.startswith(OWN_VIEW),
                definition=definition,
                comment=comment,
                grants=[(str(grantee), str(privilege)) for grantee, privilege in granted],
            )


CHANGERS: Mapping[str, type[ColumnChanger]] = {
    "duckdb": DuckDBColumns,
    "ducklake": DuckLakeColumns,
    "postgres": PostgresColumns,
}
"""By dlt's name of a destination the class that changes its columns."""


def column_changer(client: SqlJobClientBase) -> ColumnChanger:
    """What changes columns in the destination.

    Args:
        client: An open connection to the dataset.

    Raises:
        WarehouseError: The destination is another one.
    """
    kind = client.config.destination_type
    changer = CHANGERS.get(kind or "")
    if changer is None:
        raise WarehouseError(
            f"the type of a column has to change, and on the destination {kind} no sync can do that: "
            f"it can on {', '.join(CHANGERS)}",
            transient=False,
        )
    return changer(client)
