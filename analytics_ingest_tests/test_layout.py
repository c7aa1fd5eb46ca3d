"""The layout of the package and of its tests: a module is found by its name, and so is a fixture."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from pathlib import Path

import analytics_ingest
from analytics_ingest_tests import conftest

PACKAGE = Path(analytics_ingest.__file__).parent
TESTS = Path(__file__).parent


def test_no_module_name_occurs_in_two_packages() -> None:
    names = Counter(path.stem for path in PACKAGE.rglob("*.py") if not path.stem.startswith("__"))

    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []


def fixtures(path: Path) -> dict[str, str]:
    """The fixtures that a file defines, by name, without what they are described as."""
    return {
        node.name: "\n".join(ast.unparse(each) for each in node.body if each is not docstring(node))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and any("pytest.fixture" in ast.unparse(each) for each in node.decorator_list)
    }


def docstring(node: ast.FunctionDef) -> ast.stmt | None:
    return node.body[0] if ast.get_docstring(node) else None


def test_no_fixture_name_has_two_meanings() -> None:
    meanings = defaultdict(set)
    for path in TESTS.rglob("*.py"):
        for name, body in fixtures(path).items():
            meanings[name].add(body)

    assert len(meanings) > 50
    assert [name for name, bodies in meanings.items() if len(bodies) > 1] == []


def test_fixtures_that_all_tests_share_are_listed() -> None:
    assert conftest.__doc__
    named = fixtures(TESTS / "conftest.py")

    assert len(named) > 10
    assert [name for name in named if f"| ``{name}`` |" not in conftest.__doc__] == []


def test_modules_that_begin_first_are_there() -> None:
    assert [name for name in conftest.LONGEST_FIRST if not (TESTS / name).exists()] == []
