"""Prints what ``make test-latest`` installs: all that the tests need, without the package named as argument."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def requirements(extra: str) -> Iterator[str]:
    """What an extra needs, with that of the extras that it names."""
    for each in PROJECT["optional-dependencies"][extra]:
        own = re.fullmatch(rf"{PROJECT['name']}\[(.+)\]", each)
        if not own:
            yield each
        for name in own[1].split(",") if own else ():
            yield from requirements(name)


if __name__ == "__main__":
    found = {*PROJECT["dependencies"], *requirements("dev")} - {sys.argv[1]}
    sys.stdout.write("\n".join(sorted(found)) + "\n")
