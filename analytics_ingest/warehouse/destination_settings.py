"""The settings that the destination in use has, and those in its section that it does not have."""

from __future__ import annotations

import typing
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any

import dlt.destinations
from dlt.common.configuration.specs.base_configuration import BaseConfiguration, NotResolved, is_secret_hint

from analytics_ingest.config.in_force import DEFAULT, NOT_VALID, SettingInForce, masked_url
from analytics_ingest.config.lookup import found_settings
from analytics_ingest.config.secret_files import ENVIRONMENT, SUFFIX, find_secret
from analytics_ingest.config.spelling import is_misspelt, nearest
from analytics_ingest.config.unknown_settings import by_length, meant_variable
from analytics_ingest.errors import SecretFileError
from analytics_ingest.redaction import MASK
from analytics_ingest.warehouse.destination_errors import explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from analytics_ingest.config.lookup import FoundSetting
    from analytics_ingest.warehouse.destinations import Destination

PIECES = ("DES", "TINA", "TION__")
"""Three pieces of the start of each name: one that is misspelt has one of them."""
PIECE_WITHIN = len("DESTINATION__") + 2
TYPE = "destination_type"
"""The setting by which a section belongs to a destination of another name."""
SECRET = ("PASSWORD", "SECRET", "TOKEN", "KEY", "PASSPHRASE", "STATEMENTS")
"""Words in the names of settings whose values are masked."""
MAX_DEPTH = 4
"""Sections below that of a destination, such as those of a DuckLake's storage and of its credentials."""


def unknown_destination_settings(destination: Destination) -> list[str]:
    """What is wrong with the names of a destination's settings: a sentence for each.

    Sections of other destinations are left alone, unless their name is this one's misspelt.

    Args:
        destination: The destination in use.

    Raises:
        ConfigurationError: A file of settings cannot be read.
    """
    found = [each for each in found_settings() if any(piece in each.variable[:PIECE_WITHIN] for piece in PIECES)]
    if not found:
        return []
    spec = destination.spec
    named = {each.parts[1] for each in found if each.parts[-1] == TYPE and len(each.parts) == 3}
    others = (named | set(dlt.destinations.__all__)) - {destination.name}
    problems = (_problem(destination.name, spec, each, others) for each in found)
    return [each for each in dict.fromkeys(problems) if each]


def destination_settings(destination: Destination) -> list[SettingInForce]:
    """The settings that are set and that the destination has, and its database file if no setting names that.

    Args:
        destination: The destination in use.

    Raises:
        ConfigurationError: A file of settings cannot be read.
        WarehouseError: The settings cannot work.
    """
    # dlt takes the first of several
    listed: dict[str, SettingInForce] = {}
    prefix = f"DESTINATION__{destination.name}".upper()
    for each in found_settings():
        is_own = each.parts[:2] == ("destination", destination.name) and len(each.parts) > 2
        name = "__".join(each.parts[2:]).upper()
        if is_own and each.name == each.variable and _names_secret_file(destination.spec, each):
            name = name.removesuffix(SUFFIX)
            listed[name] = _from_file(each, name)
        elif is_own and not _own_problem(prefix, destination.spec, each):
            value = str(each.value)
            is_plain = not any(word in name for word in SECRET) and (name != "CREDENTIALS" or _is_place(value))
            shown = masked_url(value) if is_plain else MASK
            listed.setdefault(name, SettingInForce(name=name, value=shown, place=each.place))
    if not any(name.startswith("CREDENTIALS") for name in listed):
        with explained(destination):
            file = destination.database_file(destination.configuration(), "")
        if file:
            listed["CREDENTIALS"] = SettingInForce(name="CREDENTIALS", value=str(file.path), place=DEFAULT)
    return list(listed.values())


def _file_problem(found: FoundSetting) -> str:
    """What is wrong with the file of a secret; empty if nothing is."""
    try:
        find_secret(found.variable.removesuffix(SUFFIX))
    except SecretFileError as error:
        return str(error)
    return ""


def _from_file(found: FoundSetting, name: str) -> SettingInForce:
    """A secret that is in a file."""
    if _file_problem(found):
        return SettingInForce(name=name, value=NOT_VALID, place=ENVIRONMENT)
    return SettingInForce(name=name, value=MASK, place=str(found.value).strip())


def _names_secret_file(spec: type[BaseConfiguration], found: FoundSetting) -> bool:
    """Whether a setting of a destination is the variable that names the file of a secret."""
    if found.place != ENVIRONMENT or not found.variable.endswith(SUFFIX):
        return False
    *sections, key = found.variable.removesuffix(SUFFIX).lower().split("__")[2:]
    specs: Sequence[type[BaseConfiguration]] = [spec]
    for section in sections:
        specs = _fields(specs).get(section, ())
    hints = (each.get_resolvable_fields().get(key) for each in specs)
    return any(hint is not None and is_secret_hint(hint) for hint in hints)


def _is_place(credentials: str) -> bool:
    """Whether credentials are a path or a URL, whose secrets can be told apart, and not a document such as a key."""
    return "://" in credentials or not set("{}\n=;") & set(credentials)


def _problem(name: str, spec: type[BaseConfiguration], found: FoundSetting, others: Iterable[str]) -> str:
    prefix = f"DESTINATION__{name}".upper()
    match found.parts:
        case ("destination", section, _, *_) if section == name:
            return _own_problem(prefix, spec, found)
        case ("destination", section, *_) if section in others:
            return ""
        case ("destination", section, _, *_) if is_misspelt(section, name):
            meant = "__".join((prefix, *found.variable.split("__")[2:]))
            return f"{found.shown} is no setting of the destination {name}: did you mean {meant}?"
    meant = meant_variable(found.variable, _variables(prefix, spec))
    return f"{found.shown} is no setting: did you mean {meant}?" if meant else ""


def _own_problem(prefix: str, spec: type[BaseConfiguration], found: FoundSetting) -> str:
    """The message about a setting in the destination's own section that is not read; empty if it is."""
    if _names_secret_file(spec, found):
        misplaced = found.name != found.variable
        return f"{found.name} is not read: write {found.variable}" if misplaced else _file_problem(found)
    specs: Sequence[type[BaseConfiguration]] = [spec]
    path = [prefix]
    for place, part in enumerate(found.parts[2:], start=3):
        fields = _fields(specs)
        if fields and part not in fields:
            meant = nearest(part, fields) or "credentials"
            return f"{found.shown} is no setting: did you mean {'__'.join((*path, meant.upper()))}?"
        path.append(part.upper())
        if fields and not fields[part] and place < len(found.parts):
            if found.place == ENVIRONMENT:
                return f"{found.shown} is not read: set {'__'.join(path)} as a whole"
            # a table in a file
            break
        specs = fields.get(part, ())
    if found.place == ENVIRONMENT:
        return "" if found.name == found.variable else f"{found.name} is not read: write {found.variable}"
    if found.path == found.parts[: len(found.path)]:
        return ""
    *sections, key = found.parts
    return f"{found.shown} is not read in this form: write {key} under [{'.'.join(sections)}]"


def _fields(specs: Iterable[type[BaseConfiguration]]) -> dict[str, Sequence[type[BaseConfiguration]]]:
    """The fields of configurations that dlt looks up, each with the configurations that its value may be."""
    fields: defaultdict[str, list[type[BaseConfiguration]]] = defaultdict(list)
    for spec in specs:
        for name, hint in spec.get_resolvable_fields().items():
            if not any(isinstance(each, NotResolved) for each in typing.get_args(hint)):
                fields[name] += _configurations(hint)
    return dict(fields)


def _configurations(hint: Any) -> Iterator[type[BaseConfiguration]]:
    if isinstance(hint, type):
        if issubclass(hint, BaseConfiguration):
            yield hint
        return
    for inner in typing.get_args(hint):
        yield from _configurations(inner)


@cache
def _variables(prefix: str, spec: type[BaseConfiguration]) -> Mapping[int, Sequence[str]]:
    return by_length(_nested_variables(prefix, [spec]))


def _nested_variables(path: str, specs: Sequence[type[BaseConfiguration]], depth: int = 1) -> Iterator[str]:
    """The variables of all settings of configurations."""
    for name, inner in _fields(specs).items():
        variable = f"{path}__{name.upper()}"
        yield variable
        if inner and depth < MAX_DEPTH:
            yield from _nested_variables(variable, inner, depth + 1)
