"""Recreates tables and columns that are missing in the destination, also dlt's own tables.

dlt compares tables with their schema only when the schema has changed. A dropped table would never be created again,
and each load into it would fail (https://github.com/dlt-hub/dlt/issues/765).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.schema import Schema
from dlt.common.schema.utils import has_table_seen_data, new_table

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Mapping, Sequence

    import dlt
    from dlt.common.schema.typing import TColumnSchema, TTableSchemaColumns
    from dlt.destinations.job_client_impl import SqlJobClientBase

    from analytics_ingest.warehouse.column_changes import ColumnChanges

ROW_HASH = "_row_hash"
"""The column with a row's hash: a row whose hash is stored already is not loaded."""
STATE = "_dlt_pipeline_state"
OWN = ("_dlt_loads", "_dlt_version", STATE)
"""dlt's own tables."""
STAGED = ("merge", "replace")
"""Write dispositions whose rows go through the staging dataset."""


class Repair:
    """Finds what a dataset lacks of the schema that dlt has stored, and recreates it; for one sync.

    Attributes:
        pipeline: The pipeline into the dataset.
    """

    def __init__(self, pipeline: dlt.Pipeline, client: SqlJobClientBase, *, log: logging.Logger) -> None:
        """Prepares it.

        Args:
            pipeline: The pipeline into the dataset, with the state and schema that the destination has stored.
            client: An open connection to the dataset.
            log: Gets a warning for each missing table and column.
        """
        self.pipeline = pipeline
        self._client = client
        self._log = log
        self._api = pipeline.dataset_name
        self._missing: set[str] = set()
        self._staged: dict[str, set[str]] = {}

    def inspect(self) -> None:
        """Compares the stored schema with the tables.

        Missing columns are added at once, and the rows of their tables count as not loaded. Missing tables are created
        at the next load. Their endpoints are read from the beginning.
        """
        schema = self._schema()
        if schema is None:
            return
        there = dict(self._client.get_storage_tables({*schema.tables, *OWN}))
        self._missing = {name for name, columns in there.items() if not columns}
        data = {name: there[name] for name in schema.data_table_names() if there[name]}
        gaps = {name: gap for name, columns in data.items() if (gap := self._gap(schema, name, columns))}
        if gaps:
            self._forget_stored_state()
            with self.pipeline.destination_client(schema.name) as client:
                for name, gap in gaps.items():
                    self._fill(client, schema, name, gap)
        self._forget(self._missing | gaps.keys())
        self._take_types(schema, data)
        self._staged = {
            name: set(schema.get_table_columns(name))
            for name in data
            if schema.tables[name].get("write_disposition") in STAGED and has_table_seen_data(schema.tables[name])
        }

    def follow(self, changes: ColumnChanges) -> None:
        """Updates dlt's schema, here and in the destination, and its staging tables after columns have changed."""
        schema = self.pipeline.schemas[self._api]
        columns = schema.tables[changes.table]["columns"]
        for name, now in changes.renamed.items():
            columns[now] = {**columns.pop(name), "name": now}
        for name, (_, kind) in changes.types.items():
            columns[name] = {**columns[name], "data_type": kind}  # type: ignore[typeddict-item]
        for variants in changes.folded.values():
            for name in variants:
                columns.pop(name, None)
        self.pipeline.schemas.save_schema(schema)
        with self.pipeline.destination_client(self._api) as client:
            client.update_stored_schema(only_tables={changes.table})
        self._drop_staging()

    def _drop_staging(self) -> bool:
        """Drops the staging dataset, which is empty between loads: dlt creates it again. Whether there was one."""
        client: Any = self._client
        with client.with_staging_dataset():
            if not client.is_storage_initialized():
                return False
            client.sql_client.drop_dataset()
            return True

    def before_load(self) -> None:
        """Creates missing tables of dlt, and those that the package which is ready loads into."""
        loaded = self._loaded_into()
        wanted = self._missing & {*loaded, *OWN}
        if self._staged:
            self._check_staging(self._staged)
            self._staged = {}
        if not wanted:
            return
        # if the load fails after this, a stored cursor must not hide that the new table is empty
        self._forget_stored_state()
        with self.pipeline.destination_client(self._api) as client:
            client.initialize_storage()
            # all tables that dlt itself would compare: afterwards it regards the schema as applied
            client.update_stored_schema(only_tables={*loaded, *OWN} & client.schema.tables.keys(), force=True)
        self._missing -= wanted
        names = sorted(f"{self._api}.{name}" for name in wanted)
        self._log.warning(f"{self._api}: the destination had no {', '.join(names)}: created again")

    def _schema(self) -> Schema | None:
        """The API's schema: restored with the state, else as stored, else as the tables are."""
        schemas = self.pipeline.schemas
        if self._api in schemas and schemas[self._api].data_table_names():
            return schemas[self._api]
        schema = self._stored_schema() or self._schema_of_tables()
        if schema:
            schemas.save_schema(schema)
        return schema

    def _stored_schema(self) -> Schema | None:
        try:
            stored = self._client.get_stored_schema(self._api)
        except DestinationUndefinedEntity:
            return None
        return Schema.from_dict(json.loads(stored.schema)) if stored else None

    def _schema_of_tables(self) -> Schema | None:
        sql = self._client.sql_client
        rows = sql.execute_sql(
            "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = %s AND table_name NOT IN "
            "(SELECT table_name FROM information_schema.views WHERE table_schema = %s)",
            sql.dataset_name,
            sql.dataset_name,
        )
        names = [str(row[0]) for row in rows or () if row[0] not in OWN]
        if not names:
            return None
        self._log.warning(f"{self._api}: the destination has no stored schema: it is read from the tables")
        schema = Schema(self._api)
        for name, columns in self._client.get_storage_tables(names):
            schema.update_table(new_table(name, columns=list(columns.values()), write_disposition="append"))
        return schema

    def _take_types(self, schema: Schema, there: Mapping[str, TTableSchemaColumns]) -> None:
        """Adopts the types of the tables: one was changed outside of a sync, or a change was interrupted."""
        differ = {
            (table, name): kind
            for table, columns in there.items()
            for name, column in schema.tables[table]["columns"].items()
            if (kind := columns.get(name, {}).get("data_type")) and kind != column.get("data_type", kind)
        }
        if not differ:
            return
        for (table, name), kind in differ.items():
            schema.tables[table]["columns"][name]["data_type"] = kind
        self.pipeline.schemas.save_schema(schema)
        self._drop_staging()

    def _gap(self, schema: Schema, name: str, columns: TTableSchemaColumns) -> Sequence[TColumnSchema]:
        sensitive = self._client.capabilities.generates_case_sensitive_identifiers()
        return schema.get_new_table_columns(name, columns, case_sensitive=sensitive)

    def _fill(self, client: Any, schema: Schema, name: str, gap: Sequence[TColumnSchema]) -> None:
        """Adds columns to a table, and has all of its rows loaded again."""
        sql, table = client.sql_client, client.sql_client.make_qualified_table_name(name)
        columns = schema.get_table_columns(name)
        lost = {str(column["name"]): column for column in gap}
        shown = f"{self._api}.{name} has no {', '.join(lost)}"
        if any(column.get("primary_key") for column in gap):
            # without its key, no row can be told from another
            self._log.warning(f"{shown}, which is part of its key: the table is created again")
            sql.drop_tables(name)
            self._missing.add(name)
            return
        self._log.warning(f"{shown}: added, and all its rows are loaded again")
        prepared = client.prepare_load_table(name)
        with client.maybe_ddl_transaction():
            for column, spec in lost.items():
                kind = client.type_mapper.to_destination_type(spec, prepared)
                # without NOT NULL, also where the schema has it: the stored rows have no value
                sql.execute_sql(f"ALTER TABLE {table} ADD COLUMN {sql.escape_column_name(column)} {kind}")
            if ROW_HASH in columns and not columns[ROW_HASH].get("primary_key"):
                # a random hash for each row, which no content has: every row that is read is loaded
                own = "CAST(random() * 9000000000000000 AS bigint)"
                sql.execute_sql(f"UPDATE {table} SET {sql.escape_column_name(ROW_HASH)} = {own}")  # noqa: S608

    def _forget_stored_state(self) -> None:
        """Deletes the state in the destination, so that after a failure the next sync reads everything."""
        sql = self._client.sql_client
        if STATE not in self._missing:
            sql.execute_sql(f"DELETE FROM {sql.make_qualified_table_name(STATE)}")  # noqa: S608

    def _forget(self, names: Collection[str]) -> None:
        """Deletes the cursors of some tables from the state in the working folder, which the next load stores."""
        with self.pipeline.managed_state() as state:
            sources: dict[str, Any] = state.get("sources", {})
            resources = sources.get(self._api, {}).get("resources", {})
            for name in resources.keys() & names:
                del resources[name]

    def _loaded_into(self) -> set[str]:
        """Names of the tables that the package which is ready loads into."""
        infos = map(self.pipeline.get_load_package_info, self.pipeline.list_normalized_load_packages())
        return {job.job_file_info.table_name for info in infos for job in info.jobs["new_jobs"]}

    def _check_staging(self, staged: dict[str, set[str]]) -> None:
        """Drops the staging dataset if one of its tables lacks a column."""
        client: Any = self._client
        with client.with_staging_dataset():
            there = dict(client.get_storage_tables(staged))
            lacking = sorted(name for name, columns in staged.items() if not columns <= there[name].keys())
        if lacking and self._drop_staging():
            self._log.warning(f"{self._api}: the staging dataset lacks {', '.join(lacking)}: created again")
