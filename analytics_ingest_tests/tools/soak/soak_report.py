"""The report of a soak: figures as a table and as JSON, and what does not hold."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from dagster import DagsterRunStatus
from rich.console import Console
from rich.table import Table

from analytics_ingest_tests.tools.soak.soak_checks import Findings, check_everything
from analytics_ingest_tests.tools.soak.soak_run import Soak, SoakSettings, started_soak

MIB = 2**20
FIGURES = (
    *("runs", "syncs", "verifications", "runs_succeeded", "runs_failed", "requests", "rows_loaded", "rows_stored"),
    *("versions", "rows_lost", "rows_twice", "failures_told", "told_again", "messages", "failed_ticks"),
)
"""The figures of a report that are one number."""


NUMBERS = ("events", "runs", "rows", "sessions of Dagster's storage", "sessions of the warehouse")
"""Samples of the disk that are no bytes."""


def run_soak(settings: SoakSettings) -> dict[str, Any]:
    """Runs a soak with its checks, and gives the report, which is in ``report.json`` of the working folder as well."""
    with started_soak(settings) as soak:
        soak.carry_out()
        unrest = ""
        try:
            soak.come_to_rest()
            soak.wait_until_told()
        except Exception as error:  # noqa: BLE001 - what is there is checked all the same
            unrest = f"it does not come to rest: {type(error).__name__}: {error}"
        findings = check_everything(soak)
        if unrest:
            findings.violations.insert(0, unrest)
        report = report_of(soak, findings)
        (settings.folder / "report.json").write_text(json.dumps(report, indent=2, default=str) + "\n")
        return report


def report_of(soak: Soak, findings: Findings) -> dict[str, Any]:
    """All figures of a soak as plain values."""
    runs = soak.instance.get_runs()
    kinds = Counter(run.job_name.rpartition("_")[2] for run in runs)
    return {
        "hours": round(soak.settings.seconds / 3600, 3),
        "seed": soak.settings.seed,
        "destination": soak.settings.destination,
        "accounts": [each.name for each in soak.settings.accounts],
        "runs": len(runs),
        "syncs": len(runs) - kinds["verify"],
        "verifications": kinds["verify"],
        "runs_succeeded": sum(run.status == DagsterRunStatus.SUCCESS for run in runs),
        "requests": soak.upstream.requests,
        "upstream_advances": soak.upstream.advances,
        "upstream_changes": dict(soak.upstream.changed),
        "kills": dict(Counter(each.what for each in soak.happened.killed)),
        "jumps": soak.happened.jumps,
        "webhook_outages": len(soak.happened.outages),
        "planted": [
            {
                "since": each.since,
                "until": each.until,
                "hits": each.fault.hits,
                "runs": each.runs,
                **asdict(each.planned),
            }
            for each in soak.happened.planted
        ],
        "killed": [asdict(each) for each in soak.happened.killed],
        # the databases are gone by the time at which a report is read
        "failed_runs": [
            {"run_id": run.run_id, "job": run.job_name, "reason": soak.reasons(run.run_id)}
            for run in runs
            if run.status == DagsterRunStatus.FAILURE
        ],
        **findings.figures,
        "violations": findings.violations,
    }


def print_report(report: dict[str, Any], console: Console) -> None:
    """Prints the figures, and what does not hold."""
    console.print(_figures(report))
    console.print(_memory(report))
    console.print(_disk(report))
    if report["violations"]:
        console.print(f"[bold red]{len(report['violations'])} things do not hold:[/]")
        for each in report["violations"]:
            console.print(f"- {each}", markup=False, highlight=False)
    else:
        console.print("[bold green]everything holds[/]")


def _figures(report: dict[str, Any]) -> Table:
    table = Table(title=f"Soak of {report['hours']:g} hours, seed {report['seed']}, {report['destination']}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name in FIGURES:
        table.add_row(name.replace("_", " "), f"{report[name]:,}" if name in report else "-")
    for title, values in (
        ("upstream", report["upstream_changes"]),
        ("ledger", report.get("ledger", {})),
        ("kills", report["kills"]),
        ("faults", report.get("faults", {})),
        ("jumps", {clock: len(jumps) for clock, jumps in report["jumps"].items()}),
    ):
        for name, number in values.items():
            table.add_row(f"{title}: {name}", f"{number:,}")
    return table


def _memory(report: dict[str, Any]) -> Table:
    table = Table(title="Memory (MiB)")
    for name in ("process", "peak", "after the first third", "end", "open files after the first third", "end"):
        table.add_column(name, justify="left" if name == "process" else "right")
    for part, values in report.get("memory", {}).items():
        sizes = [f"{values[each] / MIB:.0f}" for each in ("peak", "after_third", "end")]
        files = [f"{values[each]:.0f}" for each in ("descriptors_after_third", "descriptors_end")]
        table.add_row(part, *sizes, *files)
    return table


def _disk(report: dict[str, Any]) -> Table:
    table = Table(title="Disk (MiB), and the numbers that it depends on")
    for name in ("what", "start", "first third", "end"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for what, values in report.get("disk", {}).items():
        is_number = what in NUMBERS
        sizes = [values[each] if is_number else values[each] / MIB for each in ("start", "third", "end")]
        table.add_row(what, *(f"{each:,.0f}" if is_number else f"{each:.1f}" for each in sizes))
    return table
