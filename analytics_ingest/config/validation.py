"""Validates the settings that are found against their model, and words what is wrong with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
)

from analytics_ingest.errors import ConfigurationError
from analytics_ingest.timestamps import to_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Reference:
    """How the reference page shows a field.

    Attributes:
        unit: The unit of its values, or how they are written.
        default: The default in words, for a field whose default depends on something else.
    """

    unit: str
    default: str = ""


def _words(value: Any) -> Any:
    """The list in a text, as environment variables hold it: JSON, or names separated by commas."""
    if isinstance(value, str):
        text = value.strip()
        if not text.startswith("["):
            return [word.strip() for word in text.split(",") if word.strip()]
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError('is no list: write a, b or ["a", "b"]') from None
    return value


def _moment(value: Any) -> Any:
    moment = to_utc(value.isoformat() if isinstance(value, date) else value)
    if not isinstance(moment, datetime):
        # pydantic takes a ValueError alone for a value that is not valid
        raise ValueError("is no date or time: write 2026-01-31 or 2026-01-31T12:00:00Z")  # noqa: TRY004
    return moment


MAX_SECONDS = 200 * 365 * 86_400
"""Two hundred years: the operating system waits no longer, and a time so long ago is still a date."""
Seconds = Annotated[PositiveFloat, Field(le=MAX_SECONDS), Reference("seconds")]
Bytes = Annotated[PositiveInt, Reference("bytes")]
Rows = Annotated[NonNegativeInt, Reference("rows")]
UtcTime = Annotated[datetime, BeforeValidator(_moment)]
"""A date or a time of any zone, without one of UTC; it becomes a time in UTC."""
Words = Annotated[tuple[str, ...], BeforeValidator(_words), Reference("list")]
"""A list of texts."""


def secret_fields(model: type[BaseModel]) -> frozenset[str]:
    """The fields of a model of settings whose values are secret, and so may be in a file of their own."""
    return frozenset(name for name, field in model.model_fields.items() if field.annotation is SecretStr)


def load_model(
    model: type[ModelT],
    *,
    lookup: Callable[[str], Any],
    variable: Callable[[str], str],
    declared: Mapping[str, Any] | None = None,
    fields: Iterable[str] | None = None,
) -> ModelT:
    """Looks up the fields of a model and validates them.

    Args:
        model: The settings that there are.
        lookup: Gives what is set for a field; ``None`` if nothing is.
        variable: Gives the environment variable that sets a field.
        declared: Values of fields for which nothing is set; the model's defaults are used for the others.
        fields: The fields to look up; by default all. The others are not validated.

    Raises:
        ConfigurationError: A value is not valid.
    """
    found = {
        field: value
        for field in (model.model_fields if fields is None else fields)
        if (value := lookup(field)) is not None
    }
    try:
        return model.model_validate({**(declared or {}), **found})
    except ValidationError as error:
        raise ConfigurationError(_explain(error, model, variable)) from None


def _explain(error: ValidationError, model: type[BaseModel], variable: Callable[[str], str]) -> str:
    """What is wrong with the settings, each by the name of its variable."""
    # a value may be a key that was pasted into the wrong setting
    shown = not model.model_config.get("hide_input_in_errors")
    lines = []
    for problem in error.errors(include_url=False):
        name = variable(str(problem["loc"][0]))
        if problem["type"] == "value_error":
            # a validator's own text, which begins with a verb
            lines.append(f"{name} {problem['ctx']['error']}")
        elif problem["type"] == "literal_error" and shown:
            lines.append(f"{name} is {problem['input']!r}: it must be {problem['ctx']['expected']}")
        elif problem["msg"].startswith("Input should "):
            lines.append(f"{name} must {problem['msg'].removeprefix('Input should ')}")
        else:
            lines.append(f"{name}: {problem['msg']}")
    # a list with several wrong elements is named once
    return "; ".join(dict.fromkeys(lines))
