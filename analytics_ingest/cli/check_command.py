"""``analytics-ingest check``: tests settings, key and permissions with a request for one row of each endpoint."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from analytics_ingest.cli.lines import (
    FAILED,
    FINE,
    NAME_WIDTH,
    NEITHER,
    Module,
    Names,
    console_log,
    declared_apis,
    end,
    line,
    name_width,
    title,
)
from analytics_ingest.terminal import open_console

if TYPE_CHECKING:
    from analytics_ingest.diagnostics.connection_check import ConnectionCheckResult


def check(apis: Names = None, module: Module = None) -> None:
    """Requests one row of each endpoint, to test settings, key, permissions and responses. Changes nothing.

    The settings that all accounts share, and those of the destination, are tested first.

    A child is requested for one row of its parent.

    The exit code is 1 if anything failed, if an API that is named is not configured, or if no endpoint was requested.
    Each failure is printed with what to do.
    """
    # dlt takes a second to import: not for --help
    from analytics_ingest.diagnostics.connection_check import check_api, check_deployment  # noqa: PLC0415

    console, log = open_console(highlight=False), console_log("check", open_console(stderr=True))
    marks = {"fine": FINE, "failed": FAILED, "not tried": NEITHER}
    counts: Counter[str] = Counter()
    unconfigured: list[str] = []

    def show(checked: ConnectionCheckResult, width: int) -> None:
        counts["failed"] += checked.outcome == "failed"
        console.print(line(marks[checked.outcome], checked.subject, checked.message, width=width))

    chosen = declared_apis(apis, module, tolerant=True)
    console.print(Text("deployment", "bold"))
    for checked in check_deployment(chosen.values(), log=log):
        show(checked, NAME_WIDTH)
    for api in chosen.values():
        console.print(title(api))
        for number, checked in enumerate(check_api(api, log=log)):
            counts[checked.outcome] += checked.subject in api.by_name and checked.outcome != "failed"
            # what follows about the settings are warnings
            if number == 0 and (checked.subject, checked.outcome) == ("settings", "not tried"):
                unconfigured.append(api.name)
            show(checked, name_width(api))
    summary = [f"{counts[name]} {name}" for name in ("fine", "not tried", "failed")]
    console.print(", ".join([*summary, f"{len(unconfigured)} not configured"]))
    end(console, apis, unconfigured, read=counts["fine"] + counts["failed"], failed=counts["failed"])
