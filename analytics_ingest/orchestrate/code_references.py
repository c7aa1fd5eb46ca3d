"""Where each endpoint is declared, as the code references that Dagster shows on an asset."""

from __future__ import annotations

import re
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import BetaWarning, CodeReferencesMetadataValue, LocalFileCodeReference, UrlCodeReference

if TYPE_CHECKING:
    from analytics_ingest.apis.model import Api


def code_references(api: Api, endpoint: str) -> CodeReferencesMetadataValue:
    """The lines of an endpoint's declaration: the vendor's changes, and the neutral entry.

    They are files of this installation. A project that keeps the package in its repository can link them there with
    Dagster's ``link_code_references_to_git``.
    """
    modules = [f"analytics_ingest.apis.vendors.{api.profile}"] if api.profile else []
    modules.append(f"analytics_ingest.apis.{api.registered_name}")
    found: list[LocalFileCodeReference | UrlCodeReference] = []
    for module in modules:
        path, lines = _lines_of(module)
        if endpoint in lines:
            label = "declaration" if module == modules[-1] else f"declaration of {api.profile}"
            with warnings.catch_warnings():
                # beta in Dagster 1.13
                warnings.simplefilter("ignore", BetaWarning)
                found.append(LocalFileCodeReference(file_path=path, line_number=lines[endpoint], label=label))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BetaWarning)
        return CodeReferencesMetadataValue(code_references=found)


@cache
def _lines_of(module: str) -> tuple[str, dict[str, int]]:
    """The file of a module, and the first line on which each quoted name stands."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return "", {}
    lines: dict[str, int] = {}
    for number, line in enumerate(Path(spec.origin).read_text().splitlines(), start=1):
        if name := re.search(r'^\s*(?:\w+\()?"([a-z_0-9]+)"', line):
            lines.setdefault(name[1], number)
    return spec.origin, lines
