"""Reads ``compose.yaml`` as Docker Compose does: the services that a profile starts, with their variables filled in."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?:(:-|:\?)([^}]*))?\})")


def read_services(project: Path, variables: Mapping[str, str], profiles: Collection[str] = ()) -> dict[str, Any]:
    """The services by name, those of other profiles left out.

    Args:
        project: The folder of ``compose.yaml``.
        variables: The variables of ``.env``.
        profiles: The profiles.

    Raises:
        ValueError: A variable that must be set is not.
    """
    document: dict[str, Any] = yaml.safe_load((project / "compose.yaml").read_text())
    return {
        name: filled_in(service, variables)
        for name, service in document["services"].items()
        if "profiles" not in service or not set(service["profiles"]).isdisjoint(profiles)
    }


def filled_in(value: Any, variables: Mapping[str, str]) -> Any:
    """A value of the file with the variables in it replaced."""
    if isinstance(value, dict):
        return {key: filled_in(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [filled_in(each, variables) for each in value]
    return VARIABLE.sub(lambda found: _value(found, variables), value) if isinstance(value, str) else value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, operator, rest = found.groups()
    if not name:
        return "$"
    if not variables.get(name) and operator == ":?":
        raise ValueError(f"{name}: {rest}")
    return variables.get(name) or (rest if operator == ":-" else "")
