"""The columns of one endpoint's table: their types by the table and by the rows that came, and rows as Arrow tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics_ingest.extract.arrow import arrow_table
from analytics_ingest.extract.dlt_source import empty_types, first_columns
from analytics_ingest.extract.rows import DELETED_AT, ROW_HASH

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.rows import RowNormalizer


class EndpointColumns:
    """The types of an endpoint's columns, fixed for each load package while more rows come.

    Attributes:
        types: The types by the table and by all rows that came.
    """

    def __init__(
        self, endpoint: Endpoint, normalizer: RowNormalizer, *, path_params: Mapping[str, Any], takes_nul: bool
    ) -> None:
        """Starts with the table's columns.

        Args:
            endpoint: The endpoint.
            normalizer: Makes rows, and so knows their columns.
            path_params: The path parameters of one of its partitions, which show the types of these columns.
            takes_nul: Whether the destination's texts may hold the character NUL.
        """
        self.types = normalizer.types
        self._endpoint = endpoint
        self._names = normalizer.names
        self._path_params = path_params
        self._takes_nul = takes_nul
        self._fixed: dict[str, str] = {}

    def fix_types(self) -> tuple[Mapping[str, tuple[str, str]], Mapping[str, str]]:
        """Fixes the types of the next package.

        Returns:
            What has to change about the table first: by column its type now and the one that it needs; by column its
            new name.
        """
        self._fixed, stored = self.types.now(), self.types.stored
        types = {
            name: (stored[name], kind) for name, kind in self._fixed.items() if name in stored and stored[name] != kind
        }
        return types, self._names.renamed(stored)

    @property
    def need_changes(self) -> bool:
        """Whether the table has to change for the rows that came."""
        return any(self.fix_types())

    def changed(self, types: Mapping[str, str], *, renamed: Mapping[str, str], dropped: Collection[str]) -> None:
        """Records that the table's columns were changed.

        Args:
            types: The types that columns have now, in dlt's terms.
            renamed: By the former name of a column its name now.
            dropped: Columns that were dropped.
        """
        self.types.rename(renamed)
        self.types.drop(dropped)
        self.types.store(types)

    def hints(self) -> dict[str, str]:
        """The types that dlt has to be given with the next package: of new columns, and of JSON."""
        return self._new() | {name: kind for name, kind in self._fixed.items() if kind == "json"}

    def arrow(self, rows: Sequence[dict[str, Any]]) -> Any:
        """Rows as an Arrow table, by the types that were fixed last.

        dlt creates the columns of a new table in this order: the key, the path parameters, the API's columns as they
        came, the product's own and dlt's.
        """
        new = self._new()
        types = new | self._fixed
        names = dict.fromkeys((*first_columns(self._endpoint), *(name for row in rows for name in row), *new))
        own = {name: new[name] for name in (DELETED_AT,) if name in new} | {ROW_HASH: "bigint"}
        return arrow_table(
            rows,
            {name: types[name] for name in names if name in types and name not in own} | own,
            required=self._endpoint.primary_key,
            is_native=self.types.fit_natively,
            takes_nul=self._takes_nul,
        )

    def mark_loaded(self) -> None:
        """Records that the last package is loaded: the table has its columns now."""
        self.types.store(self._new())

    def _new(self) -> dict[str, str]:
        """The types of the columns that the table does not have yet."""
        stored = self.types.stored
        new = {name: kind for name, kind in self._fixed.items() if name not in stored}
        return new if stored else {**self._of_empty_table(), **new}

    def _of_empty_table(self) -> dict[str, str]:
        return empty_types(self._endpoint, self._path_params)
