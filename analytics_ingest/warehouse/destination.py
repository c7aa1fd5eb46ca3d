"""The dlt destination and the dlt pipelines, as the environment configures them."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
from dlt.common.pipeline import get_dlt_pipelines_dir

from analytics_ingest.config.deployment import load_deployment_setting
from analytics_ingest.config.project import find_default
from analytics_ingest.warehouse.destinations import find_destination
from analytics_ingest.warehouse.destinations.duckdb import DEFAULT_FILE
from analytics_ingest.warehouse.dlt_environ import read_sections_only

if TYPE_CHECKING:
    from dlt.common.destination import AnyDestination

    from analytics_ingest.warehouse.destinations import Destination


def destination_name() -> str:
    """The name of the dlt destination in use, such as ``duckdb`` or ``postgres``."""
    name: str = load_deployment_setting("destination")
    return name


def configured_destination() -> Destination:
    """The destination in use. From now on dlt ignores variables without a section, see ``dlt_environ``."""
    read_sections_only()
    return find_destination(destination_name())


def build_destination() -> AnyDestination:
    """The dlt destination in use, with its credentials left to dlt's configuration. Opens no connection."""
    return configured_destination().build()


def build_pipeline(api: str, *, folder: Path | None = None) -> dlt.Pipeline:
    """The pipeline of an API. dlt finds its state by the names of pipeline and dataset, which are both the API's.

    Args:
        api: The API's name.
        folder: Its working folder's parent; by default ``pipelines_folder``.
    """
    return dlt.pipeline(
        pipeline_name=api,
        dataset_name=api,
        destination=build_destination(),
        pipelines_dir=str(folder or pipelines_folder()),
    )


def describing_pipeline(api: str, *, folder: Path) -> dlt.Pipeline:
    """A pipeline for the definitions of an API's assets: without a destination, whose driver takes long to import.

    Args:
        api: The API's name.
        folder: Its working folder's parent.
    """
    read_sections_only()
    return dlt.pipeline(pipeline_name=api, dataset_name=api, pipelines_dir=str(folder))


def pipelines_folder() -> Path:
    """The parent of the pipelines' working folders: one for each destination, so that two projects do not share it."""
    configured: Any = dlt.secrets.get("destination")
    variables = sorted(item for item in os.environ.items() if item[0].upper().startswith("DESTINATION__"))
    text = f"{destination_name()} {find_default(DEFAULT_FILE)} {configured} {variables}"
    fingerprint = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    return Path(get_dlt_pipelines_dir()) / f"analytics_ingest-{fingerprint}"


def remove(path: Path) -> None:
    """Removes a folder with its contents, or a file in its place, if there is one.

    Raises:
        OSError: It cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
