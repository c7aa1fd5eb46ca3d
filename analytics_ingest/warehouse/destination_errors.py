"""Explains errors of dlt and of database drivers: one line with the reason, without secrets, and what to do."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dlt.destinations
from dlt.common.configuration.exceptions import (
    ConfigFieldMissingException,
    ConfigurationException,
    ConfigValueCannotBeCoercedException,
    InvalidNativeValue,
)
from dlt.common.configuration.specs.base_configuration import BaseConfiguration, is_secret_hint
from dlt.common.destination.exceptions import (
    DestinationException,
    DestinationTransientException,
    SchemaUpdateError,
    UnknownDestinationModule,
)
from dlt.common.exceptions import MissingDependencyException
from dlt.load.exceptions import LoadClientJobException

from analytics_ingest.config.deployment import environment_variable
from analytics_ingest.config.spelling import did_you_mean
from analytics_ingest.redaction import Redactor
from analytics_ingest.warehouse.destinations import Destination, destination_behind
from analytics_ingest.warehouse.exceptions import LockTimeoutError, WarehouseError, chain_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlt.pipeline.exceptions import PipelineStepFailed

DESTINATION_VARIABLE = environment_variable("destination")
NO_ROOM = re.compile(r"no space left|disk|file too large|could not write file", re.IGNORECASE)
"""Messages of databases and of the system for a full disk."""
NO_PRIVILEGE = re.compile(
    r"permission denied for|must be (owner|member) of|insufficient.privilege|access denied", re.IGNORECASE
)
"""Messages of databases for a user who lacks a privilege."""
MAX_MESSAGE = 400
"""Characters of a database's message that are shown: some messages repeat the whole statement."""
LOCKED = re.compile(r"could not set lock on file|database is locked", re.IGNORECASE)
"""Messages of DuckDB and SQLite for a file that another process has locked."""


@contextmanager
def explained(destination: Destination) -> Iterator[None]:
    """Turns dlt's errors about settings that cannot work into one line.

    Args:
        destination: The destination that is configured.

    Raises:
        WarehouseError: A setting is missing or wrong, according to dlt.
    """
    name, setting = destination.name, destination.setting
    try:
        yield
    except UnknownDestinationModule:
        hint = did_you_mean(name, dlt.destinations.__all__)
        raise WarehouseError(f"{DESTINATION_VARIABLE} is {name}, which is not a dlt destination{hint}") from None
    except ConfigFieldMissingException as error:
        nested = [trace for traces in error.traces.values() for trace in traces]
        fields = sorted({name for trace in nested for name in getattr(trace, "traces", {})} or error.fields)
        raise WarehouseError(
            f"{DESTINATION_VARIABLE} is {name}, and its settings lack {', '.join(fields)}: "
            f"set {setting}, or {setting}__{fields[0].upper()} and so on"
        ) from None
    except InvalidNativeValue as error:
        expected = str(error).rpartition("Details:")[2].strip()
        raise WarehouseError(f"{setting} cannot be read. {expected}") from None
    except ConfigValueCannotBeCoercedException as error:
        kind = getattr(error.hint, "__name__", str(error.hint))
        raise WarehouseError(
            f"{setting}__{error.field_name.upper()}, or that part of {setting}, is not of type {kind}"
        ) from None
    except ConfigurationException as error:
        # without its message, which may contain the value
        raise WarehouseError(f"{setting} cannot be used: {type(error).__name__}") from None
    except MissingDependencyException as error:
        packages = " ".join(f"'{each}'" for each in error.dependencies)
        raise WarehouseError(
            f"{DESTINATION_VARIABLE} is {name}, which needs another package: pip install {packages}"
        ) from None
    except OSError as error:
        raise WarehouseError(f"{error.filename}: {error.strerror} (the setting is {setting})") from None


@contextmanager
def explained_folder(setting: str) -> Iterator[None]:
    """Turns the system's error about a folder or file into one line.

    Args:
        setting: The setting that names the folder or file.

    Raises:
        WarehouseError: The folder or file cannot be read or written.
    """
    try:
        yield
    except LockTimeoutError:
        raise
    except OSError as error:
        raise WarehouseError(f"{error.filename}: {error.strerror} (the setting is {setting})") from None


def load_error(
    error: PipelineStepFailed, *, api: str, destination: str, setting: str, secrets: set[str]
) -> WarehouseError:
    """The error for a load that failed: the reason, what to do, and what the next sync will do.

    Args:
        error: The error that dlt raised.
        api: The API's name.
        destination: The destination, as messages name it.
        setting: The setting of its credentials.
        secrets: Texts that must not be shown.
    """
    job = next((each for each in chain_of(error) if isinstance(each, LoadClientJobException)), None)
    table = f"/{getattr(job, 'job_id', '').partition('.')[0]}" if job else ""
    reason = describe(error, secrets)
    advice = remedy(error, api=api, setting=setting)
    transient = is_transient(error)
    if not advice and transient and NO_ROOM.search(reason):
        advice = f"See that there is room on the disk of {destination}."
    kept = "Earlier loads are kept, and no cursor has moved"
    if transient and not is_out_of_memory(error):
        end = f"{kept}: the next sync loads what is missing"
    else:
        advice = advice or _remedy_for_data(error)
        end = f"{kept}. Until then each sync fails in the same way"
    text = " ".join(filter(None, (f"{reason}.", advice, end)))
    return WarehouseError(f"{api}{table}: loading into {destination} failed: {text}", transient=transient)


def remedy(error: BaseException, *, api: str, setting: str) -> str:
    """What to do about a missing privilege or about memory that ran out, as a sentence; empty for other errors.

    Args:
        error: The error that the destination, or dlt, raised.
        api: The API's name, which is the dataset's.
        setting: The setting of the destination's credentials.
    """
    if lacks_privilege(error):
        return (
            f"As an administrator of the database, grant the user of {setting} what it lacks: CREATE on the database; "
            f"USAGE and CREATE on the schemas {api} and {api}_staging; SELECT, INSERT, UPDATE, DELETE and TRUNCATE "
            "on their tables, which it must own to add columns."
        )
    if not is_out_of_memory(error):
        return ""
    driver = next(filter(None, map(destination_behind, chain_of(error))), Destination)
    return driver.memory_remedy(setting)


def _remedy_for_data(error: BaseException) -> str:
    if is_schema_change(error):
        return "Change the table there so that it fits, or drop it: a sync creates a missing table again."
    if is_about_rows(error):
        return "Correct the rows upstream, or the table's columns and constraints in the destination."
    return "Correct the reason first."


def lacks_privilege(error: BaseException) -> bool:
    """Whether the destination refused a statement because its user lacks a privilege."""
    chain = list(chain_of(error))
    drivers = [destination_behind(each) for each in chain]
    by_code = any(driver and driver.lacks_privilege(each) for driver, each in zip(drivers, chain, strict=True))
    return by_code or bool(NO_PRIVILEGE.search(str(chain[-1])))


def is_transient(error: BaseException) -> bool:
    """Whether the destination failed (connection, lock, disk, memory), and not the data that it was given.

    Args:
        error: An exception of dlt or of a database driver, or a ``WarehouseError``.
    """
    if isinstance(error, WarehouseError):
        return error.transient
    *_, innermost = chain_of(error)
    if isinstance(innermost, (OSError, MemoryError)) or LOCKED.search(str(innermost)):
        return True
    driver = destination_behind(innermost)
    if driver and driver.is_transient(innermost):
        return True
    # dlt retries a job after any error, so that exhausted retries show nothing about the reason
    return isinstance(innermost, DestinationTransientException) and not isinstance(innermost, LoadClientJobException)


def is_destination_error(error: BaseException) -> bool:
    """Whether the destination or its driver raised an error, and not our code. dlt does not wrap all of them."""
    return any(
        isinstance(each, DestinationException) or destination_behind(each) is not None for each in chain_of(error)
    )


def is_schema_change(error: BaseException) -> bool:
    """Whether a change of a table failed, and not one of its rows."""
    return any(isinstance(each, SchemaUpdateError) for each in chain_of(error))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the destination, or this process, ran out of memory: a smaller load may fit."""
    chain = chain_of(_origin(error))
    return any(isinstance(each, MemoryError) or "out of memory" in str(each).lower() for each in chain)


def is_about_rows(error: BaseException) -> bool:
    """Whether the destination, or dlt, refuses some of the rows, so that the others may be loaded without them."""
    origin = _origin(error)
    if not is_destination_error(origin) or is_out_of_memory(origin):
        return True
    return any((destination_behind(each) or Destination).is_about_rows(each) for each in chain_of(origin))


def _origin(error: BaseException) -> BaseException:
    """The error that a ``WarehouseError`` was raised for; any other error itself."""
    return error.__context__ if isinstance(error, WarehouseError) and error.__context__ else error


def describe(error: BaseException, secrets: set[str]) -> str:
    """The beginning of the innermost error's message, in one line, without secrets."""
    *_, innermost = chain_of(error)
    text = " ".join(str(innermost).split()) or type(innermost).__name__
    text = Redactor(secrets).redact(text)
    return text[:MAX_MESSAGE].rstrip() + " ..." if len(text) > MAX_MESSAGE else text.rstrip(".")


def secrets_of(credentials: Any) -> set[str]:
    """The secret values in a destination's credentials, and connection strings that contain them.

    Credentials may be nested: the catalog and the storage of a DuckLake have their own.
    """
    if not isinstance(credentials, BaseConfiguration):
        return set()
    values: set[str] = set()
    for name, hint in credentials.get_resolvable_fields().items():
        value = credentials.get(name)
        if isinstance(value, BaseConfiguration):
            values |= secrets_of(value)
        elif value and is_secret_hint(hint):
            values.add(str(value))
    return values
