"""What must hold at the end of a soak: tables, histories, ledger, messages, queues, locks, memory and disk."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any

from dagster import DagsterEventType, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.scheduler.instigation import TickStatus
from filelock import FileLock, Timeout

from analytics_ingest.apis.model import Endpoint
from analytics_ingest.apis.registry import APIS
from analytics_ingest.extract.column_names import DELETED_AT, ROW_HASH, column_name
from analytics_ingest.orchestrate.run_tags import ACTIVE_STATUSES, run_targets_api
from analytics_ingest.sandbox.expected_rows import KEYS
from analytics_ingest.warehouse.history_names import (
    CHANGED_AT,
    OPERATION,
    SEEN_AT,
    SYNCS,
    VALID_FROM,
    VALID_TO,
    as_of_view,
    history_table,
)
from analytics_ingest_tests.fuzz.oracle import is_held
from analytics_ingest_tests.tools.soak.changing_world import Account
from analytics_ingest_tests.tools.soak.fault_plan import CODE_LOCATION, DAEMON, RUN, SESSIONS
from analytics_ingest_tests.tools.soak.soak_run import MARKER, Killed, Messages, Soak, command_line, is_named
from analytics_ingest_tests.tools.soak.usage import processes_with

MAX_EXAMPLES = 5
"""Examples of one kind of violation that are listed."""
FIRST, LATER = ("baseline", "insert"), ("update", "redeclared", "delete", "restore")
AROUND_KILL = timedelta(seconds=20)
"""Time around a kill in which what fails may have failed because of it: a part needs that long to start."""
MEMORY_GROWTH, MEMORY_SLACK = 1.15, 20 * 2**20
"""Memory of a process may be this many times that after the first third, and so many bytes more: what differs between
two samples of a process at rest."""
DISK_GROWTH, DISK_SLACK = 1.25, 4 * 2**20
SECTION = re.compile(r"^run ([0-9a-f]{8}-[0-9a-f-]{27})$", re.MULTILINE)
TITLE = re.compile(r"^(\d+) runs? of analytics_ingest failed")
LONG_ENOUGH = 600
"""Seconds of a soak from which on memory and disk are judged: before, caches are still being filled."""

Row = dict[str, Any]


@dataclass
class Findings:
    """What does not hold, and figures for the report.

    Attributes:
        violations: What does not hold, in one line each.
        figures: Figures by name.
    """

    violations: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def add(self, what: str, examples: Sequence[object]) -> None:
        """Adds a violation with examples, if there are any."""
        if examples:
            more = f" and {len(examples) - MAX_EXAMPLES} more" if len(examples) > MAX_EXAMPLES else ""
            shown = "; ".join(str(each)[:500] for each in examples[:MAX_EXAMPLES])
            self.violations.append(f"{what}: {shown}{more}")


class Evidence:
    """What the checks read: tables, runs and their events; each is read once."""

    def __init__(self, soak: Soak) -> None:
        self.soak = soak
        self.instance = soak.instance

    def rows(self, account: Account, table: str, *, order: str = "") -> list[Row]:
        """The rows of a table or view of an account."""
        with self.soak.store.reading() as query:
            columns, rows = query(f'SELECT * FROM {account.name}."{table}" {order}')
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def tables(self, account: Account) -> set[str]:
        """The names of the tables and views of an account."""
        with self.soak.store.reading() as query:
            found = query(f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{account.name}'")
        return {str(row[0]) for row in found[1]}

    @cached_property
    def runs(self) -> dict[str, DagsterRun]:
        """All runs by id."""
        return {run.run_id: run for run in self.instance.get_runs()}

    @cached_property
    def spans(self) -> dict[str, tuple[datetime, datetime]]:
        """Creation and end of each run, UTC."""
        found = {}
        for record in self.instance.get_run_records():
            end = record.end_time or record.update_timestamp.timestamp()
            found[record.dagster_run.run_id] = (
                record.create_timestamp.astimezone(UTC),
                datetime.fromtimestamp(end, tz=UTC),
            )
        return found

    @cached_property
    def syncs(self) -> dict[str, list[Row]]:
        """The ledgers by account."""
        return {each.name: self.rows(each, SYNCS) for each in self.soak.settings.accounts}

    @cached_property
    def disturbed(self) -> set[str]:
        """The runs that a kill may have ended: of their process, of a part, or of their sessions in the warehouse."""
        pids = self.soak.run_pids()
        found = {pids[pid] for each in self.killed(RUN) for pid in each.pids if pid in pids}
        # one that was killed before it has reported its process ends at once
        silent = {run_id: end for run_id, (_, end) in self.spans.items() if run_id not in pids.values()}
        for each in self.killed(RUN):
            if pids.keys().isdisjoint(each.pids):
                found |= {run_id for run_id, end in silent.items() if each.at <= end <= each.at + AROUND_KILL}
        for each in self.killed(DAEMON, CODE_LOCATION, SESSIONS):
            for run_id, (start, end) in self.spans.items():
                if start <= each.until + AROUND_KILL and end >= each.at - timedelta(seconds=5):
                    found.add(run_id)
        return found

    def killed(self, *kinds: str) -> list[Killed]:
        """The kills of some kinds."""
        return [each for each in self.soak.happened.killed if each.what in kinds]

    def materialised(self, run_id: str) -> dict[tuple[str, ...], int]:
        """The rows that a run has loaded, by account and endpoint of what it has materialised."""
        found = {}
        for entry in self.instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION):
            event = entry.dagster_event
            if event and event.asset_key:
                data: Any = event.event_specific_data
                found[tuple(event.asset_key.path)] = int(data.materialization.metadata["rows_loaded"].value)
        return found


def check_everything(soak: Soak) -> Findings:
    """All checks; one that fails with an error is a violation, and the others are carried out."""
    findings, evidence = Findings(), Evidence(soak)
    for check in CHECKS:
        try:
            check(evidence, findings)
        except Exception as error:  # noqa: BLE001 - one check must not hide the others
            findings.violations.append(
                f"{check.__name__} cannot be carried out: {type(error).__name__}: {error}"[:1000]
            )
    return findings


# tables


def tables_are_equal_to_the_upstream(evidence: Evidence, findings: Findings) -> None:
    lost: list[str] = []
    extra: list[str] = []
    differing: list[str] = []
    doubled: list[str] = []
    total = 0
    for account in evidence.soak.settings.accounts:
        world = evidence.soak.upstream.world(account)
        for endpoint in APIS[account.api].endpoints:
            name = f"{account.name}/{endpoint.name}"
            truth = [named(row) for row in world.expected(account.api, endpoint.name)]
            stored = evidence.rows(account, endpoint.name)
            total += len(stored)
            live = [row for row in stored if row.get(DELETED_AT) is None]
            if not endpoint.primary_key:
                left = list(live)
                for row in truth:
                    found = next((each for each in left if not different_fields(row, each)), None)
                    if found is None:
                        lost.append(f"{name} {row}")
                    else:
                        left.remove(found)
                extra.extend(f"{name} {row}" for row in left)
                continue
            counted = Counter(key_of(endpoint, row) for row in stored)
            doubled += [f"{name} {key}" for key, number in counted.items() if number > 1]
            by_key = {key_of(endpoint, row): row for row in live}
            for row in truth:
                key = key_of(endpoint, row)
                if key not in by_key:
                    lost.append(f"{name} {key}")
                elif fields := different_fields(row, by_key[key]):
                    differing.append(f"{name} {key}: {fields}")
            extra += [f"{name} {key}" for key in by_key.keys() - {key_of(endpoint, row) for row in truth}]
            known = world.keys[account.api, endpoint.name]
            gone = {key_of(endpoint, row) for row in stored} - known
            findings.add(f"{name} has rows that the upstream never had", sorted(map(str, gone)))
    findings.add("rows are lost", lost)
    findings.add("rows are not marked as deleted", extra)
    findings.add("rows differ from the upstream", differing)
    findings.add("rows have the same key", doubled)
    findings.figures |= {"rows_lost": len(lost) + len(differing), "rows_twice": len(doubled), "rows_stored": total}


def named(row: Row) -> Row:
    return {column_name(name): value for name, value in row.items()}


def key_of(endpoint: Endpoint, row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in endpoint.primary_key)


def different_fields(sent: Row, stored: Row) -> dict[str, tuple[Any, Any]]:
    """The fields whose value the stored row does not have."""
    return {
        name: (value, stored.get(name))
        for name, value in sent.items()
        if not (value is None and stored.get(name) is None)
        and not is_held(value, stored.get(name), is_time=isinstance(stored.get(name), datetime))
    }


def verify_command_agrees(evidence: Evidence, findings: Findings) -> None:
    done = command_line("verify", *(each.name for each in evidence.soak.settings.accounts))
    if done.returncode:
        findings.violations.append(f"analytics-ingest verify exits with {done.returncode}: {done.stdout[-3000:]}")


# histories


def histories_are_exact(evidence: Evidence, findings: Findings) -> None:
    total = 0
    for account in evidence.soak.settings.accounts:
        for endpoint in APIS[account.api].endpoints:
            if endpoint.history:
                total += check_history(evidence, findings, account, endpoint)
    findings.figures["versions"] = total


def check_history(evidence: Evidence, findings: Findings, account: Account, endpoint: Endpoint) -> int:
    """Checks the versions of an endpoint; gives their number."""
    name = f"{account.name}/{endpoint.name}"
    versions = evidence.rows(account, history_table(endpoint.name))
    stored = {key_of(endpoint, row): row for row in evidence.rows(account, endpoint.name)}
    contents = evidence.soak.upstream.world(account).contents[account.api, endpoint.name]
    chains: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for version in sorted(versions, key=lambda each: each[SEEN_AT]):
        chains[key_of(endpoint, version)].append(version)
    broken, stale, unknown, idle = [], [], [], []
    for key, chain in chains.items():
        broken += [f"{key}: {problem}" for problem in broken_links(chain)]
        last, row = chain[-1], stored.get(key)
        is_live = row is not None and row.get(DELETED_AT) is None
        if is_live != (last[OPERATION] != "delete"):
            stale.append(
                f"{key}: the last version is {last[OPERATION]}, and the row is {'' if is_live else 'not '}live"
            )
        elif row is not None and is_live:
            values = changed_columns(endpoint, last, row)
            stale += [f"{key}: the last version differs from the row in {values}"] if values else []
        states = [named(each) for each in contents.get(key, {}).values()]
        unknown += [
            f"{key} {version[OPERATION]} {version[SEEN_AT]}"
            for version in chain
            if all(different_fields(state, version) for state in states)
        ]
        idle += [
            f"{key} {after[OPERATION]} {after[SEEN_AT]}"
            for before, after in pairwise(chain)
            if after[OPERATION] == "update" and not changed_columns(endpoint, before, after)
        ]
    findings.add(f"{name}: versions do not follow each other", broken)
    findings.add(f"{name}: histories do not end with the row", stale)
    # a row that was marked as deleted before the history began has none
    begin = min((version[SEEN_AT] for version in versions if version[OPERATION] == "baseline"), default=None)
    missing = [key for key, row in stored.items() if key not in chains and not ended_before(row, begin)]
    findings.add(f"{name}: rows have no version", sorted(map(str, missing)))
    findings.add(f"{name}: versions have no row", sorted(map(str, chains.keys() - stored.keys())))
    findings.add(f"{name}: versions that the upstream never had", unknown)
    findings.add(f"{name}: versions that differ in nothing from the one before", idle)
    findings.add(f"{name}: versions hold at the same time", overlaps(evidence, account, endpoint))
    return len(versions)


def ended_before(row: Row, moment: datetime | None) -> bool:
    """Whether a row was marked as deleted before a time."""
    deleted = row.get(DELETED_AT)
    return deleted is not None and moment is not None and deleted <= moment


def broken_links(chain: Sequence[Row]) -> Iterator[str]:
    """What is wrong in the order of the versions of one key."""
    operations = [each[OPERATION] for each in chain]
    if operations[0] not in FIRST:
        yield f"begins with {operations[0]}"
    for before, after in pairwise(chain):
        was, now = before[OPERATION], after[OPERATION]
        if now not in LATER or (was == "delete") != (now == "restore"):
            yield f"{now} after {was} at {after[SEEN_AT]}"
        if now == "redeclared":
            yield f"redeclared at {after[SEEN_AT]}, and no declaration has changed"
        if before[SEEN_AT] >= after[SEEN_AT]:
            yield f"two versions at {after[SEEN_AT]}"


def changed_columns(endpoint: Endpoint, one: Row, other: Row) -> dict[str, tuple[Any, Any]]:
    """The columns with a version of their own whose values differ."""
    beside = {OPERATION, SEEN_AT, CHANGED_AT, DELETED_AT, ROW_HASH, *endpoint.primary_key, *endpoint.unversioned}
    names = (one.keys() & other.keys()) - beside
    return {
        name: (one[name], other[name]) for name in names if not name.startswith("_dlt_") and one[name] != other[name]
    }


def overlaps(evidence: Evidence, account: Account, endpoint: Endpoint) -> list[str]:
    """The versions in the view that hold at the same time as the one before, or end before they begin."""
    rows = evidence.rows(account, as_of_view(endpoint.name), order=f"ORDER BY {SEEN_AT}")
    chains: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        chains[key_of(endpoint, row)].append(row)
    found = []
    for key, chain in chains.items():
        found += [
            f"{key}: from {row[VALID_FROM]} to {row[VALID_TO]}"
            for row in chain
            if row[VALID_TO] is not None and row[VALID_TO] < row[VALID_FROM]
        ]
        found += [
            f"{key}: to {before[VALID_TO]}, and the next one from {after[VALID_FROM]}"
            for before, after in pairwise(chain)
            if before[VALID_TO] is None or before[VALID_TO] > after[VALID_FROM]
        ]
        if sum(row[VALID_TO] is None for row in chain) > 1:
            found.append(f"{key}: two versions hold now")
    return found


# the ledger


def ledger_is_consistent(evidence: Evidence, findings: Findings) -> None:
    open_, twice, odd, statuses, hashes = [], [], [], Counter[str](), []
    for account in evidence.soak.settings.accounts:
        rows = evidence.syncs[account.name]
        statuses.update(row["status"] for row in rows)
        open_ += [f"{account.name}/{row['endpoint']} {row['run_id']}" for row in rows if row["status"] == "started"]
        counted = Counter((row["run_id"], row["endpoint"]) for row in rows)
        twice += [f"{account.name} {each}" for each, number in counted.items() if number > 1]
        odd += [
            f"{account.name}/{row['endpoint']} {row['run_id']}"
            for row in rows
            if row["status"] == "interrupted" and row["run_id"] not in evidence.disturbed
        ]
        for endpoint in APIS[account.api].endpoints:
            complete = [row for row in rows if row["endpoint"] == endpoint.name and row["status"] == "complete"]
            own = evidence.soak.happened.second_runs[account.name]
            last = next((row for row in complete if row["run_id"] == own), None)
            live = [row for row in evidence.rows(account, endpoint.name) if row.get(DELETED_AT) is None]
            total = sum(row[ROW_HASH] for row in live)
            if last is None or int(last["rows_hash"]) != total:
                hashes.append(
                    f"{account.name}/{endpoint.name}: {last and last['rows_hash']}, and the table has {total}"
                )
    findings.add("parts of syncs are still open in the ledger", open_)
    findings.add("the ledger has parts of a sync twice", twice)
    findings.add("syncs count as interrupted that were not killed", odd)
    findings.add("the sum of hashes in the ledger is not that of the table", hashes)
    findings.figures["ledger"] = dict(statuses)


def ledger_agrees_with_materialisations(evidence: Evidence, findings: Findings) -> None:
    by_run: dict[str, dict[tuple[str, ...], Row]] = defaultdict(dict)
    for account, syncs in evidence.syncs.items():
        for row in syncs:
            by_run[row["run_id"]][account, row["endpoint"]] = row
    different, loaded = [], 0
    for run_id, run in evidence.runs.items():
        if run.job_name.endswith("_verify"):
            continue
        rows = by_run.get(run_id, {})
        loaded += sum(row["rows_loaded"] or 0 for row in rows.values())
        if run_id in evidence.disturbed:
            continue
        there = evidence.materialised(run_id)
        complete = {name: row["rows_loaded"] for name, row in rows.items() if row["status"] == "complete"}
        if there != complete:
            names = {name for name in there | complete if there.get(name) != complete.get(name)}
            different.append(f"{run.job_name} {run_id}: {sorted(names)}")
    findings.add("the ledger and the materialisations of a run differ", different)
    findings.figures["rows_loaded"] = loaded


def nothing_is_loaded_twice(evidence: Evidence, findings: Findings) -> None:
    refreshed = {run_id for run_id, run in evidence.runs.items() if run.job_name.endswith("_full_refresh")}
    # a retry has the job of the run that it retries
    twice, again, excess = [], [], 0
    for account in evidence.soak.settings.accounts:
        loaded: Counter[str] = Counter()
        own = evidence.soak.happened.second_runs[account.name]
        for row in evidence.syncs[account.name]:
            if row["run_id"] not in refreshed:
                loaded[row["endpoint"]] += row["rows_loaded"] or 0
            if row["run_id"] == own and (row["rows_loaded"] or row["rows_deleted"]):
                again.append(f"{account.name}/{row['endpoint']}: {row['rows_loaded']} loaded, {row['rows_deleted']}")
        written = evidence.soak.upstream.world(account).written
        for (api, endpoint), number in written.items():
            if api == account.api and KEYS[api, endpoint] and loaded[endpoint] > number:
                excess += loaded[endpoint] - number
                twice.append(f"{account.name}/{endpoint}: {loaded[endpoint]} loaded, {number} written upstream")
    findings.add("more rows are loaded than were written upstream", twice)
    findings.add("a sync without changes loads rows or marks them", again)
    findings.figures["rows_twice"] = findings.figures.get("rows_twice", 0) + excess


# failures


def failures_are_told_once(evidence: Evidence, findings: Findings) -> None:
    received = evidence.soak.webhook.received
    assert isinstance(received, Messages)
    told: dict[str, list[datetime]] = defaultdict(list)
    partial = []
    for text, moment in zip(received, received.times, strict=True):
        found = SECTION.findall(text)
        for run_id in found:
            told[run_id].append(moment)
        title = TITLE.match(text)
        if title is None or int(title[1]) != len(found):
            partial.append(text[:200])
    failed = {run_id for run_id, run in evidence.runs.items() if run.status == DagsterRunStatus.FAILURE}
    jobs = {run_id: run.job_name for run_id, run in evidence.runs.items()}
    # the message of a sensor that is killed before it has noted that it was sent is sent again
    kills = [each.at for each in evidence.killed(DAEMON, CODE_LOCATION)]
    repeated = [
        f"{jobs.get(run_id)} {run_id} {len(times)}"
        for run_id, times in told.items()
        if len(times) > 1 and not any(abs(kill - moment) < AROUND_KILL for kill in kills for moment in times[:-1])
    ]
    findings.add("failed runs are not told", [f"{jobs[each]} {each}" for each in sorted(failed - told.keys())])
    findings.add("runs are told that have not failed", [f"{jobs.get(each)} {each}" for each in told.keys() - failed])
    findings.add("failed runs are told more than once", repeated)
    findings.add("messages leave runs out", partial)
    findings.figures |= {
        "runs_failed": len(failed),
        "failures_told": len(told),
        "messages": len(received),
        "told_again": sum(len(times) - 1 for times in told.values()),
    }


def each_planted_fault_has_its_effect(evidence: Evidence, findings: Findings) -> None:
    unexplained, untold = [], []
    told = "\n".join(evidence.soak.webhook.received)
    planted = evidence.soak.happened.planted
    for each in planted:
        untold += [f"{each.planned} {run_id}" for run_id in each.runs if run_id not in told]
    for run_id, run in evidence.runs.items():
        if run.status != DagsterRunStatus.FAILURE or run_id in evidence.disturbed:
            continue
        start, end = evidence.spans[run_id]
        reasons = evidence.soak.reasons(run_id)
        if not any(
            each.planned.action == "told"
            and run_targets_api(run, each.planned.account)
            and each.since <= end
            and (each.until or end) >= start
            and is_named(each.planned, reasons)
            for each in planted
        ):
            unexplained.append(f"{run.job_name} {run_id} from {start:%H:%M:%S} to {end:%H:%M:%S}: {reasons[:400]}")
    findings.add("planted failures are not told", untold)
    findings.add("runs have failed for no planted reason", unexplained)
    hit: Counter[str] = Counter()
    for each in planted:
        hit[f"{each.planned.action}: {each.planned.what}"] += each.fault.hits
    findings.figures["faults"] = dict(sorted(hit.items()))


def ticks_fail_only_because_of_kills(evidence: Evidence, findings: Findings) -> None:
    outages = [(since, until + timedelta(seconds=30)) for since, until in evidence.soak.happened.outages]
    outages += [
        (each.at - timedelta(seconds=30), each.until + timedelta(seconds=60))
        for each in evidence.killed(DAEMON, CODE_LOCATION)
    ]
    odd, number = [], 0
    for state in evidence.instance.all_instigator_state():
        ticks = evidence.instance.get_ticks(
            state.instigator_origin_id, state.selector_id, statuses=[TickStatus.FAILURE], limit=500
        )
        for tick in ticks:
            number += 1
            moment = datetime.fromtimestamp(tick.timestamp, tz=UTC)
            if not any(first - timedelta(seconds=60) <= moment <= last for first, last in outages):
                text = tick.error.message.strip() if tick.error else ""
                odd.append(f"{state.instigator_name} at {moment:%H:%M:%S}: {text[:300]}")
    findings.add("ticks have failed for no planted reason", odd)
    findings.figures["failed_ticks"] = number


# verification


def verification_raises_no_false_alarm(evidence: Evidence, findings: Findings) -> None:
    alarms, compared = [], 0
    for run_id in evidence.runs:
        for entry in evidence.instance.all_logs(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION):
            data: Any = entry.dagster_event and entry.dagster_event.event_specific_data
            if data and not data.passed and "same_as_upstream" in (data.description or ""):
                alarms.append(f"{data.asset_key.to_user_string()} in {run_id}: {data.description[:300]}")
    unverified = []
    for account in evidence.soak.settings.accounts:
        rows = {row["endpoint"]: row for row in evidence.rows(account, "_verifications")}
        for endpoint in APIS[account.api].endpoints:
            row = rows.get(endpoint.name)
            if row is None or row["compared_at"] is None or row["differences"] or row["reason"]:
                unverified.append(f"{account.name}/{endpoint.name}: {row}")
    runs = [run for run in evidence.runs.values() if run.job_name.endswith("_verify")]
    compared = sum(run.status == DagsterRunStatus.SUCCESS for run in runs)
    findings.add("same_as_upstream has failed, and no row was ever altered", alarms)
    findings.add("tables are not found equal to the API at the end", unverified)
    findings.figures["verifications"] = compared


# what is left behind


def nothing_waits_or_is_locked(evidence: Evidence, findings: Findings) -> None:
    soak = evidence.soak
    active = evidence.instance.get_runs(RunsFilter(statuses=ACTIVE_STATUSES))
    findings.add("runs are in progress", [f"{run.job_name} {run.run_id} {run.status.value}" for run in active])
    held = []
    for path in soak.settings.folder.rglob("*.lock"):
        try:
            with FileLock(path).acquire(timeout=0):
                pass
        except Timeout:
            held.append(path.name)
    findings.add("lock files are held", held)
    if soak.settings.destination == "postgres":
        with soak.store.reading() as query:
            sessions = query(
                "SELECT a.pid, a.application_name, a.state, count(l.*) FROM pg_stat_activity a LEFT JOIN pg_locks l "
                "USING (pid) WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() GROUP BY 1, 2, 3"
            )[1]
        findings.add("the warehouse has sessions", sessions)
    parts = set(soak.dagster.pids.values())
    left = {
        pid: command
        for pid, command in processes_with(f"{MARKER}={os.environ[MARKER]}").items()
        if pid not in parts and "resource_tracker" not in command
    }
    findings.add("processes are left", [f"{pid} {command[:200]}" for pid, command in left.items()])
    alive = {str(pid) for pid in (*parts, os.getpid())}
    folders = [
        path.name
        for path in (soak.settings.folder / "tmp").glob("analytics_ingest-*-*")
        if path.name.split("-")[1] not in alive
    ]
    findings.add("temporary folders of processes that are gone are left", folders)


def memory_is_flat(evidence: Evidence, findings: Findings) -> None:
    soak, sampler = evidence.soak, evidence.soak.sampler
    seconds = soak.settings.seconds
    figures, grown = {}, []
    for part, series in sampler.memory.items():
        after_third = series.level(seconds * 0.40, seconds * 0.50)
        end = series.level(seconds * 0.90, seconds)
        files = sampler.files[part]
        figures[part] = {
            "peak": series.peak,
            "after_third": after_third,
            "end": end,
            "descriptors_after_third": files.level(seconds * 0.40, seconds * 0.50),
            "descriptors_end": files.level(seconds * 0.90, seconds),
        }
        if part == RUN:
            continue
        if end > after_third * MEMORY_GROWTH + MEMORY_SLACK:
            grown.append(f"{part} from {after_third / 2**20:.0f} MiB to {end / 2**20:.0f} MiB")
        if figures[part]["descriptors_end"] > figures[part]["descriptors_after_third"] + 20:
            grown.append(f"{part}: {figures[part]} open files")
    if seconds >= LONG_ENOUGH:
        findings.add("the memory of processes grows", grown)
    findings.figures["memory"] = figures


def disk_is_flat(evidence: Evidence, findings: Findings) -> None:
    soak, disk = evidence.soak, evidence.soak.sampler.disk
    seconds = soak.settings.seconds
    figures = {
        what: {
            "start": series.samples[0][1] if series.samples else 0,
            "third": series.level(seconds * 0.30, seconds * 0.37),
            "end": series.latest,
        }
        for what, series in disk.items()
    }
    findings.figures["disk"] = figures
    if seconds < LONG_ENOUGH:
        return
    grown = [
        f"{what} from {figures[what]['third']:.0f} to {figures[what]['end']:.0f} bytes"
        for what in ("temporary files", "dlt's folder")
        if figures[what]["end"] > figures[what]["third"] * DISK_GROWTH + DISK_SLACK
    ]
    # these keep what happened: their size must follow its number
    for what, number in (("Dagster's storage", "events"), ("compute logs", "events")):
        first, later = (
            (figures[what][end] - figures[what][begin]) / max(1, figures[number][end] - figures[number][begin])
            for begin, end in (("start", "third"), ("third", "end"))
        )
        if later > first * DISK_GROWTH:
            grown.append(f"{what} by {later:.0f} bytes for each of the {number}, at first by {first:.0f}")
    if "rows" in figures:
        first, later = (figures["endpoints' tables"][at] / max(1, figures["rows"][at]) for at in ("third", "end"))
        if later > first * DISK_GROWTH:
            grown.append(f"the endpoints' tables have {later:.0f} bytes for each row, at first {first:.0f}")
    findings.add("disk grows", grown)


CHECKS: tuple[Callable[[Evidence, Findings], None], ...] = (
    tables_are_equal_to_the_upstream,
    verify_command_agrees,
    histories_are_exact,
    ledger_is_consistent,
    ledger_agrees_with_materialisations,
    nothing_is_loaded_twice,
    failures_are_told_once,
    each_planted_fault_has_its_effect,
    ticks_fail_only_because_of_kills,
    verification_raises_no_false_alarm,
    nothing_waits_or_is_locked,
    memory_is_flat,
    disk_is_flat,
)
