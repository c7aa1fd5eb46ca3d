"""Reads compose.yaml and the Dockerfile: what each container executes, with which environment, secrets and files.

It knows the part of both formats that the deployment uses, and refuses the rest.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SECRETS = "/run/secrets"
"""The folder of a container that has its secrets."""
VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<operator>:?[-?])(?P<other>[^}]*))?\})")


@dataclass(frozen=True)
class Service:
    """What the container of a service executes.

    Attributes:
        command: The entrypoint and the command.
        environment: The environment of the image and of the service.
        secrets: The content of each secret, by its path in the container.
        files: The content of each other file that comes from the project, by its path in the container.
        volumes: The name of each volume, by its path in the container; empty for one of the container's own.
        replicas: The number of containers.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    files: Mapping[str, str]
    volumes: Mapping[str, str]
    replicas: int = 1


@dataclass
class Image:
    """The last stage of a Dockerfile.

    Attributes:
        environment: The variables that it sets.
        entrypoint: The words before each command.
        command: The words that it executes unless a service has a command.
        files: The files that it copies from the project, by their path in the image.
    """

    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)


def substitute(value: Any, variables: Mapping[str, str]) -> Any:
    """Replaces the variables in all texts of a part of compose.yaml.

    Raises:
        ValueError: A variable that must be set is missing.
    """
    if isinstance(value, dict):
        return {name: substitute(each, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [substitute(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def replacement(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        operator, other = found["operator"] or "-", found["other"] or ""
        given = variables.get(found["name"])
        if given or (given is not None and not operator.startswith(":")):
            return given
        if operator.endswith("?"):
            raise ValueError(f"{found['name']}: {other}")
        return other

    return VARIABLE.sub(replacement, value)


def read_image(project: Path) -> Image:
    """The image that the project's Dockerfile builds."""
    lines = [line for line in (project / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    stages: dict[str, Image] = {}
    image = Image()
    for instruction in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, rest = instruction.strip().partition(" ")
        if name == "FROM":
            base, *alias = [word for word in rest.split() if word.upper() != "AS" and not word.startswith("--")]
            known = stages.get(base, Image())
            image = Image(dict(known.environment), [*known.entrypoint], [*known.command], dict(known.files))
            stages.update(dict.fromkeys(alias, image))
        elif name == "ENV":
            image.environment |= dict(word.split("=", 1) for word in shlex.split(rest))
        elif name == "ENTRYPOINT":
            image.entrypoint, image.command = _words(rest), []
        elif name == "CMD":
            image.command = _words(rest)
        elif name == "COPY" and "--from" not in rest:
            *sources, target = [word for word in rest.split() if not word.startswith("--")]
            files = [project / source for source in sources if (project / source).is_file()]
            image.files |= {target if target[-1] != "/" else f"{target}{each.name}": each for each in files}
    return image


def read_services(project: Path, variables: Mapping[str, str], secrets: Mapping[str, str]) -> dict[str, Service]:
    """The services of compose.yaml, by name. Of an image that is not the project's own, nothing is known.

    Args:
        project: The folder of compose.yaml.
        variables: What ``.env`` sets.
        secrets: The content of each secret that is a file, by its name.

    Raises:
        ValueError: A variable is missing, or compose.yaml has something that is not known here.
        KeyError: A secret is missing.
    """
    compose = substitute(yaml.safe_load((project / "compose.yaml").read_text()), variables)
    image = read_image(project)
    contents = {
        name: variables[each["environment"]] if "environment" in each else secrets[name]
        for name, each in compose.get("secrets", {}).items()
    }
    configs = {name: each["content"] for name, each in compose.get("configs", {}).items()}
    return {
        name: _service(declared, image if "build" in declared else Image(), variables, contents, configs, project)
        for name, declared in compose["services"].items()
    }


def _service(
    declared: Mapping[str, Any],
    image: Image,
    variables: Mapping[str, str],
    secrets: Mapping[str, str],
    configs: Mapping[str, str],
    project: Path,
) -> Service:
    entrypoint = image.entrypoint if declared.get("entrypoint") is None else _arguments(declared["entrypoint"])
    default = image.command if declared.get("entrypoint") is None else []
    command = _arguments(declared["command"]) if declared.get("command") else default
    given: dict[str, str] = {}
    for each in _list(declared.get("env_file", [])):
        if (path := each if isinstance(each, str) else each["path"]) not in (".env", "./.env"):
            raise ValueError(f"env_file {path}: only .env is known")
        given |= variables
    files = {path: file.read_text() for path, file in image.files.items() if path.startswith("/")}
    files |= {each["target"]: configs[each["source"]] for each in declared.get("configs", [])}
    volumes = {}
    for source, path in map(_mount, declared.get("volumes", [])):
        if (project / source).is_file():
            files[path] = (project / source).read_text()
        else:
            # of a folder of the machine only the place is there
            volumes[path] = "" if source.startswith((".", "/")) else source
    return Service(
        command=(*entrypoint, *command),
        environment={**image.environment, **given, **_environment(declared.get("environment", {}))},
        secrets=dict(_secret(each, secrets) for each in declared.get("secrets", [])),
        files=files,
        volumes=volumes,
        replicas=declared.get("deploy", {}).get("replicas", 1),
    )


def _mount(volume: Any) -> tuple[str, str]:
    """Source and path of a volume; a volume of the container's own has no source."""
    if isinstance(volume, dict):
        return volume.get("source", ""), volume["target"]
    source, separator, path = volume.partition(":")
    return (source, path.partition(":")[0]) if separator else ("", source)


def _secret(named: Any, secrets: Mapping[str, str]) -> tuple[str, str]:
    """Path and content of a secret of a service."""
    source = named if isinstance(named, str) else named["source"]
    target = source if isinstance(named, str) else named.get("target", source)
    return target if target.startswith("/") else f"{SECRETS}/{target}", secrets[source]


def _environment(declared: Any) -> dict[str, str]:
    if isinstance(declared, list):
        return dict(each.split("=", 1) for each in declared)
    return {name: str(value) for name, value in declared.items()}


def _arguments(declared: Any) -> list[str]:
    return shlex.split(declared) if isinstance(declared, str) else list(declared)


def _words(text: str) -> list[str]:
    """The words of an instruction in JSON, or a command of the shell."""
    words: list[str] = json.loads(text) if text.startswith("[") else ["/bin/sh", "-c", text]
    return words


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
