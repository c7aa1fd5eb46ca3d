"""A failure of a step whose text says what to do: Dagster shows it without the frames through which it was raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import Failure

# internal to Dagster: an error of its public API always comes with the frames of Dagster that executed the step
from dagster._core.errors import DagsterUserCodeProcessError
from dagster_shared.error import SerializableErrorInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagster import RawMetadataValue


class PlainFailureError(DagsterUserCodeProcessError, Failure):
    """A ``Failure`` that brings the stack that the event log and the UI show; none unless one is given.

    Dagster serialises an error with all frames between its own executor and the line that raised it. An error of this
    base class is taken as it was serialised elsewhere.
    """

    def __init__(
        self,
        description: str,
        *,
        metadata: Mapping[str, RawMetadataValue] | None = None,
        allow_retries: bool = True,
        stack: str = "",
    ) -> None:
        """Makes a failure.

        Args:
            description: What failed, and what to do.
            metadata: As of ``Failure``.
            allow_retries: As of ``Failure``.
            stack: The traceback of an unexpected error.
        """
        info = SerializableErrorInfo(
            message=f"{description}\n", stack=[stack] if stack else [], cls_name=Failure.__name__
        )
        super().__init__(  # type: ignore[no-untyped-call]
            description, metadata=metadata, allow_retries=allow_retries, user_code_process_error_infos=[info]
        )
