"""Reads a Dockerfile: its instructions, the configuration that they leave, and the files of its build context."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = frozenset(
    {"FROM", "ENV", "RUN", "COPY", "WORKDIR", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD", "LABEL"}
)
"""The instructions that are understood; any other one is an error, so that none is left out unnoticed."""
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class DockerfileError(ValueError):
    """A Dockerfile has something that is not understood."""


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """An instruction.

    Attributes:
        name: Its name in capitals.
        rest: What follows, in one line and without comments.
        line: The number of its first line.
    """

    name: str
    rest: str
    line: int


@dataclass(kw_only=True)
class ImageConfig:
    """The configuration of an image, or of a container that runs it.

    Attributes:
        base: The image that it begins with.
        environment: Its variables.
        folder: The working folder.
        user: The user; root by default.
        entrypoint: Words of the command that gets the others as its arguments.
        command: Words of the command.
        healthcheck: Words of the command that checks the health; empty without one.
        ports: The ports that it exposes.
    """

    base: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "root"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def apply(self, instruction: Instruction) -> None:
        """Takes over an instruction that leaves something in the configuration; others do nothing.

        Raises:
            DockerfileError: It is not understood.
        """
        name, rest = instruction.name, instruction.rest
        match name:
            case "FROM":
                if self.base:
                    raise DockerfileError(f"line {instruction.line}: a second stage is not understood")
                self.base = rest
            case "ENV":
                self.environment |= {
                    key: self.expand(value) for key, _, value in (word.partition("=") for word in shlex.split(rest))
                }
            case "WORKDIR":
                self.folder = str(Path(self.folder) / self.expand(rest))
            case "USER":
                self.user = self.expand(rest)
            case "EXPOSE":
                self.ports += [int(each) for each in rest.split()]
            case "ENTRYPOINT":
                self.entrypoint = words(rest)
            case "CMD":
                self.command = words(rest)
            case "HEALTHCHECK":
                self.healthcheck = _healthcheck(instruction)

    def expand(self, text: str) -> str:
        """A text with the variables in it replaced."""
        return VARIABLE.sub(lambda found: self.environment.get(found[1] or found[2], ""), text)


def parse(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile.

    Raises:
        DockerfileError: There is an instruction, or an option of one, that is not understood.
    """
    found = []
    for number, line in _logical_lines(text):
        name, _, rest = line.partition(" ")
        if name.upper() not in KNOWN or "<<" in rest:
            raise DockerfileError(f"line {number}: {line} is not understood")
        if name.upper() in ("RUN", "COPY") and rest.startswith("--") and not rest.startswith("--chown="):
            raise DockerfileError(f"line {number}: {rest.split()[0]} is not understood")
        found.append(Instruction(name=name.upper(), rest=rest.strip(), line=number))
    if not found or found[0].name != "FROM":
        raise DockerfileError("there is no FROM")
    return found


def words(rest: str) -> list[str]:
    """The words of a command, in the form of JSON or as a line for the shell."""
    if rest.startswith("["):
        return [str(each) for each in json.loads(rest)]
    return ["/bin/sh", "-c", rest]


def context_files(folder: Path) -> list[Path]:
    """The files of a build context, relative to its folder: all but those that ``.dockerignore`` excludes.

    Args:
        folder: The context.
    """
    lines = (line.strip() for line in (folder / ".dockerignore").read_text().splitlines())
    rules = [(not line.startswith("!"), _pattern(line.lstrip("!"))) for line in lines if line and line[0] != "#"]
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        ignored = False
        for ignores, pattern in rules:
            # a pattern holds for what is below a folder too
            if any(pattern.fullmatch(str(each)) for each in (relative, *relative.parents[:-1])):
                ignored = ignores
        if path.is_file() and not ignored:
            found.append(relative)
    return found


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern of ``.dockerignore``, which Go's ``filepath.Match`` defines, with ``**`` for any number of folders."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    split = re.split(r"(\*\*/|\*\*|\*|\?)", text.strip("/"))
    return re.compile("".join(parts.get(each, re.escape(each)) for each in split))


def _healthcheck(instruction: Instruction) -> list[str]:
    options, _, command = instruction.rest.partition("CMD ")
    if not command or any(not each.startswith("--") for each in options.split()):
        raise DockerfileError(f"line {instruction.line}: {instruction.rest} is not understood")
    return words(command)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines, those that continue joined, and without comments: each with the number of its first line."""
    parts: list[str] = []
    start = 0
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        start = start if parts else number
        parts.append(stripped.removesuffix("\\").strip())
        if not stripped.endswith("\\"):
            yield start, " ".join(parts)
            parts = []
    if parts:
        yield start, " ".join(parts)
