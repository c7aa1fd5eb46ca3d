"""Writes constraints*.txt from pyproject.toml with uv, with the hashes of each version's files; lists newer releases.

``write`` keeps the versions that the files have, as long as pyproject.toml allows them; with ``--upgrade`` it takes the
newest that resolve together. ``outdated`` prints the pins that have a newer release. uv reads its own settings for the
package index, such as ``UV_DEFAULT_INDEX``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
PRODUCT, DEV, DBT = "constraints.txt", "constraints-dev.txt", "constraints-dbt.txt"
PRODUCT_EXTRAS = ("celery", "lake", "postgres", "production", "sandbox")
"""The extras of a deployment. The others are for work on the project."""
HEADS = {
    PRODUCT: f"""\
# The product: the exact versions that are tested together, with the extras {", ".join(PRODUCT_EXTRAS)},
# and with the setuptools that builds it. pyproject.toml names what is needed; make pins writes this file.
# pip install --require-hashes --no-deps -r {PRODUCT}
""",
    DEV: f"""\
# What work on the project needs beside {PRODUCT}: tests, linters, benchmark, screenshots, release.
# make pins writes this file.
# pip install --require-hashes --no-deps -r {PRODUCT} -r {DEV}
""",
    DBT: """\
# What make test-dbt installs into .venvs/dbt: dbt, and dagster-dbt beside the tested Dagster.
# make pins writes this file.
""",
}
SAME_FOR_DBT = ("dagster", "duckdb")
"""Packages that the environment of dbt has in the version of the product."""
COMPILE = (
    "--universal",
    "--python-version=3.11",
    # one version of a package for every Python
    "--fork-strategy=fewest",
    "--no-annotate",
    "--no-header",
    "--quiet",
)


class PinsError(RuntimeError):
    """The versions do not resolve. The message has what uv printed."""


@dataclass(frozen=True)
class Pin:
    """A pinned package: the lines of one requirement in a file."""

    text: str

    @cached_property
    def requirement(self) -> Requirement:
        """The requirement without its hashes."""
        return Requirement(self.text.replace("\\\n", " ").partition(" --hash=")[0].strip())

    @property
    def name(self) -> str:
        """The package's normalised name."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> Version:
        """The pinned version."""
        (specifier,) = self.requirement.specifier
        if specifier.operator != "==":
            raise PinsError(f"{self.requirement} is not pinned to a version")
        return Version(specifier.version)

    @property
    def hashes(self) -> list[str]:
        """The SHA-256 sums of the version's files."""
        return re.findall(r"--hash=sha256:([0-9a-f]{64})", self.text)


def read_project(root: Path = ROOT) -> dict[str, Any]:
    """The content of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text())


def read_pins(text: str) -> list[Pin]:
    """The pins in the text of a constraints file."""
    lines = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    return [Pin(block) for block in re.findall(r"^\S.*(?:\n[ \t]+.*)*\n?", lines, flags=re.MULTILINE)]


def compile_pins(
    *sources: str,
    requirements: Iterable[str] = (),
    constraints: Iterable[str] = (),
    kept: str = "",
    hashes: bool = False,
    bare: bool = False,
    root: Path = ROOT,
) -> str:
    """What uv resolves from sources and requirements.

    ``constraints`` limit the versions, and the versions of ``kept``, the text of a constraints file, are preferred.
    ``bare`` leaves out what the requirements require in turn.
    """
    with tempfile.TemporaryDirectory() as folder:
        output, limits = Path(folder, "output.txt"), Path(folder, "limits.txt")
        output.write_text(kept)
        limits.write_text("\n".join(constraints))
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "compile", *sources, "-", *COMPILE),
                *(["--generate-hashes"] if hashes else []),
                *(["--no-deps"] if bare else []),
                *("--constraint", str(limits), "--output-file", str(output)),
            ],
            input="\n".join(requirements),
            # without sources also without the settings for uv in pyproject.toml
            cwd=root if sources else folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise PinsError(ended.stderr.strip())
        return output.read_text()


def write(*, upgrade: bool = False, root: Path = ROOT) -> None:
    """Writes the constraints files."""
    kept = {name: "" if upgrade else (root / name).read_text() for name in HEADS}
    build = read_project(root)["build-system"]["requires"]

    pinned = kept[PRODUCT] + kept[DEV]
    text = compile_pins("pyproject.toml", "--all-extras", requirements=build, kept=pinned, hashes=True, root=root)
    pins = read_pins(text)
    versions = {pin.name: f"{pin.name}=={pin.version}" for pin in pins}
    extras = [f"--extra={extra}" for extra in PRODUCT_EXTRAS]
    limits = versions.values()
    product = compile_pins("pyproject.toml", *extras, requirements=build, constraints=limits, root=root)
    names = {pin.name for pin in read_pins(product)}
    same = [versions[name] for name in SAME_FOR_DBT]
    dbt = compile_pins("--group=dbt", constraints=same, kept=kept[DBT], hashes=True, root=root)

    texts = {
        PRODUCT: "".join(pin.text for pin in pins if pin.name in names),
        DEV: "".join(pin.text for pin in pins if pin.name not in names),
        DBT: dbt,
    }
    for name, head in HEADS.items():
        text = head + texts[name]
        # make builds .venv again if a file is newer
        if text != (root / name).read_text():
            (root / name).write_text(text)


@dataclass(frozen=True)
class Outdated:
    """A pin that has a newer release."""

    pin: Pin
    newest: Version
    held_by: list[str]
    """The packages that do not allow the newest release and have no newer release themselves."""


def outdated(files: Iterable[str], environment: Path, root: Path = ROOT) -> list[Outdated]:
    """The pins of files that have a newer release; the environment has the packages."""
    pins = {pin.name: pin for file in files for pin in read_pins((root / file).read_text())}
    names = [f"{name}; {pin.requirement.marker}" if pin.requirement.marker else name for name, pin in pins.items()]
    newest = {pin.name: pin.version for pin in read_pins(compile_pins(requirements=names, bare=True))}
    newer = {name: version for name, version in newest.items() if version > pins[name].version}
    limits = read_project(root)["tool"]["uv"]["constraint-dependencies"]
    required = [("pyproject.toml", Requirement(limit)) for limit in limits] + installed_requirements(environment, root)
    return [
        Outdated(
            pins[name],
            version,
            sorted(
                {
                    f"{holder} ({requirement.specifier})"
                    for holder, requirement in required
                    if canonicalize_name(requirement.name) == name
                    and version not in requirement.specifier
                    and holder not in newer
                }
            ),
        )
        for name, version in sorted(newer.items())
    ]


def installed_requirements(environment: Path, root: Path) -> list[tuple[str, Requirement]]:
    """What the packages in an environment require, each with the package's name; extras count if they are required."""
    folders = [str(folder) for folder in environment.glob("lib/python*/site-packages")]
    packages: dict[str, Distribution] = {canonicalize_name(found.name): found for found in distributions(path=folders)}
    waiting: list[tuple[str, str]] = [(name, "") for name in packages]
    waiting += [("analytics-ingest", extra) for extra in read_project(root)["project"]["optional-dependencies"]]
    seen: set[tuple[str, str]] = set()
    required: list[tuple[str, Requirement]] = []
    while waiting:
        name, extra = waiting.pop()
        if name not in packages or (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in map(Requirement, packages[name].requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                required.append((name, requirement))
                waiting += [(canonicalize_name(requirement.name), each) for each in requirement.extras]
    return required


def print_outdated(root: Path = ROOT) -> None:
    """Prints the pins that have a newer release."""
    console = Console()
    for files, environment in (((PRODUCT, DEV), root / ".venv"), ((DBT,), root / ".venvs" / "dbt")):
        found = outdated(files, environment, root)
        console.print(f"{', '.join(files)}: {len(found)} have a newer release")
        table = Table(box=box.SIMPLE)
        for column in ("package", "pinned", "newest", "held back by"):
            table.add_column(column, overflow="fold")
        for each in found:
            table.add_row(each.pin.name, str(each.pin.version), str(each.newest), ", ".join(each.held_by))
        if found:
            console.print(table)


def main() -> None:
    """Runs the command that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="write the constraints files")
    writing.add_argument("--upgrade", action="store_true", help="take the newest versions that resolve together")
    commands.add_parser("outdated", help="print the pins that have a newer release")
    arguments = parser.parse_args()
    try:
        if arguments.command == "write":
            write(upgrade=arguments.upgrade)
        else:
            print_outdated()
    except PinsError as error:
        sys.exit(f"the pins are unchanged: {error}")


if __name__ == "__main__":
    main()
