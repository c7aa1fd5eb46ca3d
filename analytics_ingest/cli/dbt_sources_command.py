"""``analytics-ingest dbt-sources``: writes the tables of accounts as sources for dbt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analytics_ingest.cli.lines import Module, Names, declared_apis, load_definitions, print_error
from analytics_ingest.terminal import open_console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from analytics_ingest.apis.model import Api, Endpoint
    from analytics_ingest.diagnostics.dbt_sources import Place

Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="The file to write, which is replaced; by default standard output."
    ),
]
AssetKeys = dict[tuple[str, str], list[str]]
"""Keys of assets by account and endpoint."""


def dbt_sources(apis: Names = None, output: Output = None, module: Module = None) -> None:
    """Writes a sources.yml for dbt 1.11: tables, columns, tests, freshness, asset keys. Reads no API and no warehouse.

    A source is an account, a table of it an endpoint. Without names, accounts that are not configured are left out.
    Freshness is read from the ledger of syncs, with the limits of WARN_AFTER and FAIL_AFTER. With --module, the asset
    keys are those of the project; else they are the account and the endpoint.

    The exit code is 1 if a setting is wrong, if no account is configured, or if the file cannot be written.
    """
    # dlt takes a second to import: not for --help
    from analytics_ingest.config.api import missing_settings  # noqa: PLC0415
    from analytics_ingest.diagnostics.dbt_sources import declare_source, find_place, write_sources  # noqa: PLC0415
    from analytics_ingest.errors import IngestError  # noqa: PLC0415
    from analytics_ingest.warehouse.exceptions import WarehouseError  # noqa: PLC0415

    keys = _asset_keys(module) if module else {}
    chosen = declared_apis(apis)
    unconfigured = [] if apis else [name for name, api in chosen.items() if missing_settings(api)]
    sources = [api for name, api in chosen.items() if name not in unconfigured]
    if not sources:
        print_error(f"no account is configured: {', '.join(unconfigured)}; name those whose tables are there")
        raise typer.Exit(1)
    try:
        place = find_place(sources[0])
        declared = [declare_source(api, database=place.database, asset_key=_asset_key_in(keys)) for api in sources]
    except (IngestError, WarehouseError) as error:
        print_error(str(error))
        raise typer.Exit(1) from None
    text = write_sources(declared)
    if output is None:
        typer.echo(text, nl=False)
    else:
        _replace(output, text)
    tables = sum(len(each["tables"]) for each in declared)
    _print_next_steps(f"sources: {len(declared)}, tables: {tables}", output, place, unconfigured)


def _asset_keys(module: str) -> AssetKeys:
    """The keys of the assets in a module's definitions."""
    # Dagster takes seconds to import: not for --help
    from analytics_ingest.orchestrate.account_assets import ACCOUNT_TAG, endpoint_of  # noqa: PLC0415

    return {
        (account, endpoint_of(node.key)): list(node.key.path)
        for repository in load_definitions(module)
        for node in repository.asset_graph.asset_nodes
        if (account := node.tags.get(ACCOUNT_TAG))
    }


def _asset_key_in(keys: AssetKeys) -> Callable[[Api, Endpoint], Sequence[str]]:
    return lambda api, endpoint: keys.get((api.name, endpoint.name), [api.name, endpoint.name])


def _replace(file: Path, text: str) -> None:
    """Replaces a file as a whole, so that no reader finds a part of it."""
    new = file.with_name(f".{file.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(file)
    except OSError as error:
        print_error(f"{file} cannot be written: {error.strerror}")
        raise typer.Exit(1) from None


def _print_next_steps(counts: str, output: Path | None, place: Place, unconfigured: Sequence[str]) -> None:
    console = open_console(stderr=True, highlight=False)
    written = f", in {output}" if output else ""
    save = "" if output else "Save them as a file below models/ of a dbt project. "
    lines = [f"{counts}{written}. {save}dbt build tests them, dbt source freshness reads when they were last synced."]
    if place.file:
        attachment = f"{{path: {place.file}, alias: {place.database}, read_only: true}}"
        lines.append(f"The profile of dbt-duckdb needs, unless this file is its path: attach: [{attachment}]")
    elif place.database:
        lines.append(f"The profile of dbt-duckdb has to attach the lake as {place.database}.")
    if unconfigured:
        lines.append(f"Left out, as they are not configured: {', '.join(unconfigured)}")
    for each in lines:
        console.print(each, markup=False, soft_wrap=True)
