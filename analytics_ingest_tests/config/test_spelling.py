"""Which names count as misspelt, and which known name a message offers."""

from __future__ import annotations

import pytest

from analytics_ingest.config.spelling import did_you_mean, is_misspelt, nearest


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gatez", "gates"),
        ("gate", "gates"),
        ("gatess", "gates"),
        ("gaets", "gates"),
        ("agtes", "gates"),
        ("EXPERIMENTATON", "EXPERIMENTATION"),
        ("EXPRIMENTATON", "EXPERIMENTATION"),
        ("EXPERIMNETATOIN", "EXPERIMENTATION"),
        ("experimentations", "experimentation"),
    ],
)
def test_one_letter_or_two_of_a_long_name(name: str, known: str) -> None:
    assert is_misspelt(name, known)
    assert is_misspelt(known, name)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gates", "gates"),
        ("us", "eu"),
        ("eus", "eu"),
        ("api", "app"),
        ("gataz", "gates"),
        ("seats", "gates"),
        ("github", "gitlab"),
        ("EXPRIMNTATON", "EXPERIMENTATION"),
        ("experiment", "experimentation"),
        ("", "gates"),
    ],
)
def test_other_names_are_not_misspelt(name: str, known: str) -> None:
    assert not is_misspelt(name, known)
    assert not is_misspelt(known, name)


def test_the_nearest_name_is_offered_if_there_is_one() -> None:
    known = ["max_pages", "max_columns", "cron"]

    assert nearest("max_page", known) == "max_pages"
    assert nearest("color", known) == ""
    assert did_you_mean("corn", known) == ": did you mean cron?"
    assert did_you_mean("color", known) == ""
