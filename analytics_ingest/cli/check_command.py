"""``analytics-ingest check``: tests settings, key and permissions with a request for one row of each endpoint."""

from __future__ import annotations

from collections import Counter

from analytics_ingest.cli.lines import (
    FAILED,
    FINE,
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


def check(apis: Names = None, module: Module = None) -> None:
    """Requests one row of each endpoint, to test settings, key, permissions and responses. Changes nothing.

    A child is requested for one row of its parent.

    The exit code is 1 if anything failed, if an API that is named is not configured, or if no endpoint was requested.
    Each failure is printed with what to do.
    """
    # dlt takes a second to import: not for --help
    from analytics_ingest.diagnostics.connection_check import check_api  # noqa: PLC0415

    console, log = open_console(highlight=False), console_log("check", open_console(stderr=True))
    marks = {"fine": FINE, "failed": FAILED, "not tried": NEITHER}
    counts: Counter[str] = Counter()
    unconfigured: list[str] = []
    for api in declared_apis(apis, module).values():
        console.print(title(api))
        for number, checked in enumerate(check_api(api, log=log)):
            counts[checked.outcome] += checked.subject in api.by_name or checked.outcome == "failed"
            # what follows about the settings are warnings
            if number == 0 and checked.outcome == "not tried":
                unconfigured.append(api.name)
            console.print(line(marks[checked.outcome], checked.subject, checked.message, width=name_width(api)))
    summary = [f"{counts[name]} {name}" for name in ("fine", "not tried", "failed")]
    console.print(", ".join([*summary, f"{len(unconfigured)} not configured"]))
    end(console, apis, unconfigured, read=counts["fine"] + counts["failed"], failed=counts["failed"])
