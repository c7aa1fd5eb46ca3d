"""Names in ``EXCLUDE_COLUMNS`` that exclude nothing: misspelt endpoints, and fields that no row and no table has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from analytics_ingest.apis.registry import whole_declaration
from analytics_ingest.config.lookup import environment_name
from analytics_ingest.config.spelling import did_you_mean, is_misspelt
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.extract.column_names import column_name
from analytics_ingest.extract.rows import excluded_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.config.api_settings import Settings
    from analytics_ingest.extract.endpoint_reader import EndpointReader

Columns = Mapping[str, Collection[str]]
"""The columns of tables, by table."""


def refuse_misspelt_endpoints(api: Api, names: Iterable[str], columns: Callable[[Collection[str]], Columns]) -> None:
    """Refuses ``user.email`` where the API has an endpoint ``users``, and no table a column ``user``.

    Args:
        api: The API.
        names: The names in ``EXCLUDE_COLUMNS``.
        columns: Gives the columns of tables, of those that there are. It is called for doubtful names alone.

    Raises:
        ConfigurationError: Such a name is among them.
    """
    endpoints = whole_declaration(api).by_name
    declared = {column for endpoint in endpoints.values() for column in _declared_columns(endpoint)}
    stored: set[str] | None = None
    for name in names:
        first, _, field = name.partition(".")
        if not field or first in endpoints or column_name(first) in declared:
            continue
        meant = next((each for each in endpoints if is_misspelt(first, each) or _plural(first) == each), "")
        if not meant:
            continue
        if stored is None:
            stored = {column for found in columns(endpoints.keys()).values() for column in found}
        if column_name(first) not in stored:
            raise ConfigurationError(
                f"{environment_name(api.name, 'exclude_columns')} names {name}, and {api.name} has neither an endpoint "
                f"nor a column {first}: did you mean {meant}.{field}? A field {field} within a field {first} is "
                f"written <endpoint>.{name}"
            )


def _declared_columns(endpoint: Endpoint) -> set[str]:
    paths = (*endpoint.cursor_path, *endpoint.timestamps, *endpoint.timestamps_as_sent, *endpoint.primary_key)
    return {path.partition(".")[0] for path in paths} | set(endpoint.parents.params if endpoint.parents else ())


def _plural(name: str) -> str:
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


class ExcludedColumns:
    """Finds the names in ``EXCLUDE_COLUMNS`` that no row of a sync had."""

    def __init__(self, api: Api, settings: Settings) -> None:
        """Starts without a row.

        Args:
            api: The API.
            settings: Its settings.
        """
        self._api = api
        self._names = settings.exclude_columns
        self._endpoints = frozenset(whole_declaration(api).by_name)
        self._read = self._endpoints - set(settings.skip_endpoints)
        self._had: set[str] = set()
        self._complete: set[str] = set()
        self._with_rows: set[str] = set()

    def add(self, reader: EndpointReader) -> None:
        """Records what came of an endpoint, once every list of it has ended."""
        endpoint = reader.endpoint
        for name, path in zip(self._names, excluded_fields(endpoint, self._names), strict=True):
            if path not in reader.fields_not_met:
                self._had.add(name)
        if reader.has_read_all:
            self._complete.add(endpoint.name)
        if reader.stats.rows_read:
            self._with_rows.add(endpoint.name)

    def warnings(self, columns: Columns) -> list[str]:
        """A sentence for each name that neither a row nor a table has.

        A name counts only if the endpoints that may have its field were read completely.

        Args:
            columns: The columns of the tables.
        """
        warnings = []
        for name in self._names:
            first, _, field = name.partition(".")
            concerned = self._read & {first} if field and first in self._endpoints else self._read
            if name in self._had or not concerned <= self._complete or not concerned & self._with_rows:
                continue
            plain = field if concerned == {first} else name
            stored = {column for endpoint in concerned for column in columns.get(endpoint, ())}
            if column_name(plain) in stored:
                continue
            variable = environment_name(self._api.name, "exclude_columns")
            prefix = name.removesuffix(plain)
            # of a field within another one the table knows no names
            known = [] if "." in plain else [prefix + each for each in stored if not each.startswith("_")]
            end = did_you_mean(name, known) or ": is it spelled right?"
            warnings.append(f"{variable} names {name}, which no row and no table has{end}")
        return warnings
