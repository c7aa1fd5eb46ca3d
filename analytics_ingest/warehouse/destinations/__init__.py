"""The registry of destinations: a class for each dlt destination that is treated differently from others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dlt

from analytics_ingest.warehouse.destinations.base import Destination
from analytics_ingest.warehouse.destinations.duckdb import DuckDB
from analytics_ingest.warehouse.destinations.ducklake import DuckLake
from analytics_ingest.warehouse.destinations.postgres import Postgres
from analytics_ingest.warehouse.exceptions import WarehouseError
from analytics_ingest.warehouse.present_views import PresentViews

if TYPE_CHECKING:
    from dlt.destinations.job_client_impl import SqlJobClientBase

    from analytics_ingest.warehouse.column_changes import ColumnChanger

DESTINATIONS: dict[str, type[Destination]] = {"duckdb": DuckDB, "ducklake": DuckLake, "postgres": Postgres}
"""By dlt's name of a destination its class; every other one is a ``Destination``."""


def find_destination(name: str) -> Destination:
    """The destination that is configured under a name.

    Args:
        name: A name in ``DESTINATIONS``, another name of dlt's, or one whose type a setting has,
            ``DESTINATION__<NAME>__DESTINATION_TYPE``.
    """
    if name in DESTINATIONS:
        return DESTINATIONS[name](name)
    kind = dlt.config.get(f"destination.{name}.destination_type", str) or name
    return DESTINATIONS.get(kind.rpartition(".")[2], Destination)(name)


def destination_behind(error: BaseException) -> type[Destination] | None:
    """The class whose database driver raised an error; ``None`` for an error of anything else."""
    drivers = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return next((each for each in DESTINATIONS.values() if not each.drivers.isdisjoint(drivers)), None)


def refuse_without_ledger(destination: Destination) -> None:
    """Raises if the datasets of a destination have no ledger of syncs.

    Raises:
        WarehouseError: They have none; the message names the destinations that do.
    """
    if not destination.history:
        able = ", ".join(name for name, each in DESTINATIONS.items() if each.history)
        raise WarehouseError(
            f"the destination {destination.name} has no ledger of syncs: only {able} have it", transient=False
        )


def refuse_without_changes(destination: Destination) -> None:
    """Raises if the datasets of a destination have no view of the changes of configuration.

    Raises:
        WarehouseError: They have none; the message names the destinations that do.
    """
    if not (destination.history and destination.history.has_changes):
        able = ", ".join(name for name, each in DESTINATIONS.items() if each.history and each.history.has_changes)
        raise WarehouseError(
            f"the destination {destination.name} has no view of changes: only {able} have it", transient=False
        )


def column_changer(destination: Destination, client: SqlJobClientBase) -> ColumnChanger:
    """Changes columns in a destination.

    Args:
        destination: The destination.
        client: An open connection to the dataset.

    Raises:
        WarehouseError: The destination has no class for it.
    """
    if destination.columns is None:
        able = ", ".join(name for name, each in DESTINATIONS.items() if each.columns)
        raise WarehouseError(
            f"the type of a column has to change, which no sync can do on the destination {destination.name}: "
            f"only on {able}",
            transient=False,
        )
    views = present_views(destination, client) if destination.comments else None
    return destination.columns(client, views=views)


def present_views(destination: Destination, client: SqlJobClientBase) -> PresentViews:
    """The views of present rows in a destination that has them.

    Args:
        destination: The destination.
        client: An open connection to the dataset.
    """
    if destination.comments is None:
        raise RuntimeError(f"{destination.name} has no views of present rows")
    return PresentViews(client.sql_client, comment_query=destination.comments.view)


__all__ = [
    "DESTINATIONS",
    "Destination",
    "column_changer",
    "destination_behind",
    "find_destination",
    "present_views",
    "refuse_without_changes",
    "refuse_without_ledger",
]
