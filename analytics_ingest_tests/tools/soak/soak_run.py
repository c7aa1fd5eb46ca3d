"""A soak: starts everything, carries out the plan, lets the system come to rest, and checks what must hold then."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter

from analytics_ingest.orchestrate.run_tags import ACTIVE_STATUSES, run_targets_api
from analytics_ingest.sandbox.options import Fault
from analytics_ingest.sandbox.routes import ROUTES
from analytics_ingest_tests.conftest import ROOT
from analytics_ingest_tests.environment import set_environment, use_folder
from analytics_ingest_tests.orchestrate.chat_webhook import ChatWebhook
from analytics_ingest_tests.orchestrate.instance import RunningDagster
from analytics_ingest_tests.stores import STORES, Store, postgres_database
from analytics_ingest_tests.tools.soak.changing_world import ACCOUNTS, Account, Upstream, changing_upstream
from analytics_ingest_tests.tools.soak.fault_plan import (
    READ_TIMEOUT,
    RUN,
    SESSIONS,
    Planned,
    fault_of,
    make_plan,
)
from analytics_ingest_tests.tools.soak.usage import Sampler, ancestors, folder_bytes
from analytics_ingest_tests.waiting import eventually

LOCATION = "analytics_ingest_tests.tools.soak.paced_definitions"
MARKER = "SOAK_ID"
LOG = logging.getLogger("soak")
TABLES = r"""
SELECT sum(pg_total_relation_size(relid)), sum(n_live_tup) FROM pg_stat_user_tables
WHERE relname NOT LIKE '\_%' AND schemaname NOT LIKE '%\_staging'
"""
"""The size of the endpoints' tables, without ledgers, histories and dlt's own, and about how many rows they have."""
PID = re.compile(r"pid: (\d+)")
MAX_CONCURRENT_RUNS = 3
"""Runs at the same time, as two cores serve the upstream and Dagster as well."""
DRAIN_SECONDS = 600
"""Seconds in which runs in progress must end once faults have stopped. A run that was lost while it started is found
after ``start_timeout_seconds``."""
SECONDS_TO_TELL = 200
"""Seconds in which the last failed run must be told: the failure sensor ticks once a minute."""


@dataclass(frozen=True, kw_only=True)
class SoakSettings:
    """What a soak is told.

    Attributes:
        folder: The working folder.
        seconds: Its length without start and end.
        seed: The seed of the plan and of the rows.
        accounts: The accounts.
        destination: The warehouse: ``postgres`` or ``duckdb``.
        pace: The factor of the product's waits: 1 as they are.
        advance_every: Seconds between two changes upstream.
        crons: When accounts are synced, in turn.
        verify_cron: How often each account is compared with its API.
    """

    folder: Path
    seconds: float
    seed: int = 1
    accounts: Sequence[Account] = ACCOUNTS
    destination: str = "postgres"
    pace: float = 1.0
    advance_every: float = 20.0
    crons: Sequence[str] = ("*/2 * * * *", "1-59/2 * * * *")
    verify_cron: str = "*/6 * * * *"


@dataclass(kw_only=True)
class Planted:
    """A fault that was planted.

    Attributes:
        planned: What was planned.
        fault: The sandbox's fault.
        since: When, UTC.
        until: When it was taken back, UTC.
        runs: The runs that failed because of it.
    """

    planned: Planned
    fault: Fault
    since: datetime
    until: datetime | None = None
    runs: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Killed:
    """What was killed.

    Attributes:
        what: The kind.
        at: When, UTC.
        until: When it ran again, UTC; the same for a run.
        pids: The processes.
        runs: The runs that they executed.
    """

    what: str
    at: datetime
    until: datetime
    pids: Sequence[int] = ()
    runs: Sequence[str] = ()


@dataclass
class Happened:
    """What has happened in a soak, for the checks and the report.

    Attributes:
        planted: The faults that were planted.
        killed: What was killed.
        jumps: Seconds of the jumps of clocks, by clock.
        outages: When the webhook refused messages, UTC.
        frozen_at: When the upstream changed for the last time, UTC.
        calm_at: When no run was in progress any more and the clean syncs began, UTC.
        clean_runs: The runs of the clean cycle, by account.
        second_runs: The runs after that, which have nothing to load, by account.
    """

    planted: list[Planted] = field(default_factory=list)
    killed: list[Killed] = field(default_factory=list)
    jumps: dict[str, list[float]] = field(default_factory=lambda: {"upstream clock": [], "own clock": []})
    outages: list[tuple[datetime, datetime]] = field(default_factory=list)
    frozen_at: datetime | None = None
    calm_at: datetime | None = None
    clean_runs: dict[str, str] = field(default_factory=dict)
    second_runs: dict[str, str] = field(default_factory=dict)


class Messages(list[str]):
    """The messages that a chat has received, with the times at which it did, UTC."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[datetime] = []

    def append(self, text: str) -> None:
        """Adds a message that has just come."""
        self.times.append(datetime.now(UTC))
        super().append(text)


class SoakDagster(RunningDagster):
    """The parts of a soak."""

    def stop_sensor_by_name(self, name: str) -> None:
        """Turns a sensor off that runs by default."""
        query = """
        query ($selector: SensorSelector!) {
          sensorOrError(sensorSelector: $selector) { ... on Sensor { id } }
        }
        """
        selector = {**self._repository, "sensorName": name}
        self.stop_sensor(self.query(query, selector=selector)["sensorOrError"]["id"])


class Soak:
    """One soak, within ``started_soak``.

    Attributes:
        settings: What it was told.
        upstream: The sandboxes.
        store: The warehouse.
        dagster: The parts.
        instance: Dagster's storage.
        webhook: The chat that gets the messages.
        sampler: Memory and disk.
        happened: What has happened.
        plan: What was planned.
    """

    def __init__(
        self,
        settings: SoakSettings,
        *,
        upstream: Upstream,
        store: Store,
        dagster: SoakDagster,
        webhook: ChatWebhook,
        sampler: Sampler,
    ) -> None:
        self.settings = settings
        self.upstream = upstream
        self.store = store
        self.dagster = dagster
        self.instance = DagsterInstance.get()
        self.webhook = webhook
        self.sampler = sampler
        self.happened = Happened()
        self.plan = make_plan(settings.seed, settings.seconds, settings.accounts)
        self.accounts = {each.name: each for each in settings.accounts}
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._clock = 0.0

    # the plan

    def carry_out(self) -> None:
        """Changes the upstream, plants faults and kills processes, as planned, until the time is over."""
        self.dagster.wait_for(lambda: self.dagster.ticks("failure_sensor"), "first tick of the failure sensor")
        self.sampler.start()
        started = time.monotonic()
        left = list(self.plan)
        next_advance, next_poll, next_line = 0.0, 0.0, 60.0
        while (now := time.monotonic() - started) < self.settings.seconds:
            while left and left[0].at <= now:
                self._do(left.pop(0), now)
            for due in [each for each in self._later if each[0] <= now]:
                self._later.remove(due)
                due[1]()
            if now >= next_advance:
                self.upstream.advance(self.settings.advance_every)
                next_advance = now + self.settings.advance_every
            if now >= next_poll:
                self._end_absorbed()
                self._end_told()
                self._look_at_the_ui()
                next_poll = now + 2
            if now >= next_line:
                LOG.info(self._line(now))
                next_line += 60
            time.sleep(0.25)

    def _do(self, planned: Planned, now: float) -> None:
        if planned.action in ("absorbed", "told"):
            self._plant(planned)
        elif planned.action == "kill":
            self._later.append((now + (planned.number if planned.what == RUN else 0), lambda: self._kill(planned)))
        elif planned.action in self.happened.jumps:
            self._jump(planned)
        elif planned.action == "webhook":
            since = datetime.now(UTC)
            self.webhook.status = 500

            def again() -> None:
                self.webhook.status = 200
                self.happened.outages.append((since, datetime.now(UTC)))

            self._later.append((now + planned.number, again))

    def _plant(self, planned: Planned) -> None:
        account = self.accounts[planned.account]
        # a request must not meet more faults in a row than it is retried
        for other in self.happened.planted:
            if other.until is None and other.planned.account == planned.account:
                if planned.action == "absorbed" or other.planned.action == "told":
                    return
                self._take_back(other)
        planted = Planted(planned=planned, fault=fault_of(planned, account), since=datetime.now(UTC))
        self.upstream.server(account).options.faults.append(planted.fault)
        self.happened.planted.append(planted)

    def _take_back(self, planted: Planted) -> None:
        planted.until = datetime.now(UTC)
        with suppress(ValueError):
            self.upstream.server(self.accounts[planted.planned.account]).options.faults.remove(planted.fault)

    def _end_absorbed(self) -> None:
        """Takes back the faults that have hit, or that no request has met for a minute and a half."""
        for planted in self.happened.planted:
            if planted.until or planted.planned.action != "absorbed":
                continue
            age = (datetime.now(UTC) - planted.since).total_seconds()
            if planted.fault.hits >= planted.planned.number or age > 90:
                self._take_back(planted)

    def _end_told(self) -> None:
        """Takes back the faults because of which a run has failed, or that no run has met for three minutes."""
        for planted in self.happened.planted:
            if planted.until or planted.planned.action != "told":
                continue
            if planted.fault.hits:
                planted.runs = self._failed_by(planted)
            age = (datetime.now(UTC) - planted.since).total_seconds()
            if planted.runs or age > 180:
                self._take_back(planted)

    def _failed_by(self, planted: Planted) -> list[str]:
        """The runs of the account that failed since the fault was planted, and name the endpoint as the reason."""
        filters = RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=planted.since)
        found = []
        for run in self.instance.get_runs(filters):
            reasons = self.reasons(run.run_id)
            if run_targets_api(run, planted.planned.account) and is_named(planted.planned, reasons):
                found.append(run.run_id)
        return found

    def reasons(self, run_id: str) -> str:
        """Why a run failed, as its steps reported it; else as Dagster did."""
        texts: list[str] = []
        for entry in self.instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE):
            data = entry.dagster_event.step_failure_data if entry.dagster_event else None
            if data:
                own = data.user_failure_data.description if data.user_failure_data else None
                texts.append(own or (data.error.message if data.error else "") or "")
        if not texts:
            ends = self.instance.all_logs(run_id, of_type=DagsterEventType.RUN_FAILURE)
            texts = [entry.dagster_event.message or "" for entry in ends if entry.dagster_event]
        return "\n".join(texts)

    def _jump(self, planned: Planned) -> None:
        self.happened.jumps[planned.action].append(planned.number)
        if planned.action == "upstream clock":
            self.upstream.shift_clock(planned.number)
        else:
            self._clock += planned.number
            self._write_clock()

    def _write_clock(self) -> None:
        file = Path(os.environ["SOAK_CLOCK"])
        new = file.with_suffix(".new")
        new.write_text(str(self._clock))
        new.replace(file)

    # kills

    def _kill(self, planned: Planned) -> None:
        if planned.what == RUN:
            self._kill_run(planned)
            return
        if planned.what == SESSIONS:
            self._end_sessions()
            return
        part = next(each for each in self.dagster.pids if each.startswith(planned.what))
        at, pid = datetime.now(UTC), self.dagster.pids[part]
        LOG.info("kills the %s", planned.what)
        self.dagster.kill(part)
        killed = Killed(what=planned.what, at=at, until=at, pids=[pid])
        self.happened.killed.append(killed)
        # here, as nothing else may happen while a part is down: the plan goes on after it
        time.sleep(planned.number / 2)
        self.dagster.start(part)
        killed.until = datetime.now(UTC)

    def _kill_run(self, planned: Planned) -> None:
        """Kills the process of a run, once there is one."""
        try:
            pids = eventually(self.sampler.run_processes, 20, interval=0.1)
        except AssertionError:
            return
        pid = pids[int(planned.at * 10) % len(pids)]
        # a step's process that is killed early has not reported its run; the process that started it has
        runs = {*pids}.intersection(ancestors(pid))
        at = datetime.now(UTC)
        LOG.info("kills the process %s of a run", pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.happened.killed.append(Killed(what=RUN, at=at, until=at, pids=[pid, *sorted(runs)]))

    def _end_sessions(self) -> None:
        """Ends the sessions of syncs in the warehouse, as a restart of the server does."""
        if self.settings.destination != "postgres":
            return
        at = datetime.now(UTC)
        with self.store.reading() as query:
            ended = query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> 'psql'"
            )[1]
        if ended:
            LOG.info("ends %s sessions of the warehouse", len(ended))
            self.happened.killed.append(Killed(what=SESSIONS, at=at, until=datetime.now(UTC)))

    def _look_at_the_ui(self) -> None:
        """Keeps the webserver busy, as an open page of runs does."""
        with suppress(Exception):
            self.dagster.runs()

    def _line(self, now: float) -> str:
        records = self.instance.get_runs(RunsFilter(statuses=ACTIVE_STATUSES))
        states = Counter(each.status.value for each in records)
        return (
            f"{now:.0f} s: {self.instance.get_runs_count()} runs, in progress {dict(states)}, "
            f"{self.upstream.requests} requests, {sum(each.fault.hits for each in self.happened.planted)} faults hit, "
            f"{len(self.happened.killed)} kills, {len(self.webhook.received)} messages"
        )

    # the end

    def come_to_rest(self) -> None:
        """Stops the faults and the changes, waits for the runs in progress, and syncs everything twice.

        Raises:
            AssertionError: It does not come to rest, or a sync fails.
        """
        for planted in self.happened.planted:
            if planted.until is None:
                self._take_back(planted)
        for _, act in self._later:
            act()
        self._later = []
        self.webhook.status = 200
        self._clock = 0.0
        self._write_clock()
        self.happened.frozen_at = datetime.now(UTC)
        LOG.info("faults have stopped, and nothing changes any more")
        self._stop_automation()
        self.wait_until_calm()
        self.happened.calm_at = datetime.now(UTC)
        self.sampler.sample_disk()
        LOG.info("no run is in progress")
        self.happened.clean_runs = self.sync_all()
        self.happened.second_runs = self.sync_all()
        LOG.info("everything is synced twice")
        self.verify_all()
        self.wait_until_calm()

    def sync_all(self) -> dict[str, str]:
        """Syncs every account in one run, and gives the run by account.

        Raises:
            AssertionError: It did not succeed.
        """
        run_id = self.dagster.launch("all_sync")
        self._succeed([run_id])
        return dict.fromkeys(self.accounts, run_id)

    def verify_all(self) -> None:
        """Compares the tables of every account with its API.

        Raises:
            AssertionError: A run did not succeed.
        """
        self._succeed([self.dagster.launch(f"{name}_verify") for name in self.accounts])

    def _succeed(self, run_ids: Sequence[str]) -> None:
        def ended() -> bool:
            return all(self.instance.get_run_by_id(each).is_finished for each in run_ids)

        eventually(ended, DRAIN_SECONDS, interval=1, state=lambda: f"runs {run_ids} have not ended")
        for run in map(self.instance.get_run_by_id, run_ids):
            assert run is not None
            assert run.is_success, f"{run.job_name} {run.run_id} {run.status.value}: {self.reasons(run.run_id)}"

    def _stop_automation(self) -> None:
        """Stops the schedules, and the sensors that launch runs; what was requested before goes on."""
        for name in self.accounts:
            for schedule in ("sync", "full_refresh", "verify"):
                self.dagster.stop_schedule(f"{name}_{schedule}_schedule")
            self.dagster.stop_sensor_by_name(f"{name}_change_sensor")
        self.dagster.stop_sensor_by_name("freshness_sensor")

    def wait_until_calm(self) -> None:
        """Waits until no run is in progress, and none has been for a while, as the daemon retries runs that failed.

        Raises:
            AssertionError: Runs stay in progress.
        """
        since: list[float] = []

        def is_calm() -> bool:
            if self.instance.get_runs(RunsFilter(statuses=ACTIVE_STATUSES), limit=1):
                since.clear()
                return False
            since.append(time.monotonic())
            return since[-1] - since[0] > 15

        def state() -> str:
            runs = self.instance.get_runs(RunsFilter(statuses=ACTIVE_STATUSES))
            return f"in progress: {[(each.run_id, each.job_name, each.status.value) for each in runs]}"

        eventually(is_calm, DRAIN_SECONDS, interval=1, state=state)

    def wait_until_told(self) -> None:
        """Waits until the failure sensor has ticked after the last failed run."""
        failed = {run.run_id for run in self.instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE]))}
        with suppress(AssertionError):
            eventually(
                lambda: all(any(run_id in text for text in self.webhook.received) for run_id in failed),
                SECONDS_TO_TELL * self.settings.pace + 15,
                interval=1,
            )
        # one more tick, which must not tell anything again
        time.sleep(75 * self.settings.pace + 5)

    def run_pids(self) -> dict[int, str]:
        """The runs by the process that has executed them."""
        found = {}
        for run in self.instance.get_runs():
            for entry in self.instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
                if match := PID.search(entry.message):
                    found[int(match[1])] = run.run_id
        return found


def is_named(planned: Planned, reasons: str) -> bool:
    """Whether the reason of a failed run names the endpoint of a fault; a refused key has none."""
    if not planned.endpoint:
        return "401" in reasons
    return planned.endpoint in reasons or _path(planned) in reasons


def _path(planned: Planned) -> str:
    api = next(each.api for each in ACCOUNTS if each.name == planned.account)
    return ROUTES[api, planned.endpoint].path


def settings_of(soak: SoakSettings, *, marker: str) -> dict[str, str]:
    """The environment of the parts, beside the accounts and the warehouse."""
    folder = soak.folder
    settings = {
        MARKER: marker,
        "SOAK_CLOCK": str(folder / "clock"),
        "SOAK_PACE": str(soak.pace),
        "DAGSTER_HOME": str(folder / "home"),
        "DAGSTER_COMPUTE_LOGS": str(folder / "compute_logs"),
        "TMPDIR": str(folder / "tmp"),
        "FRESHNESS_DAEMON_INTERVAL_SECONDS": "10",
        "ANALYTICS_INGEST_AUTOMATION": "running",
        "PYTHONPATH": str(ROOT),
    }
    for number, account in enumerate(soak.accounts):
        prefix = f"SOURCES__{account.name.upper()}__"
        settings |= {
            f"{prefix}CRON": soak.crons[number % len(soak.crons)],
            f"{prefix}VERIFY_CRON": soak.verify_cron,
            # one of them loads everything again now and then
            f"{prefix}FULL_REFRESH_CRON": "*/15 * * * *" if number == 1 else "0 0 1 1 *",
            f"{prefix}WARN_AFTER": "180",
            f"{prefix}FAIL_AFTER": "600",
            f"{prefix}CHANGE_INTERVAL": str(max(10, int(30 * soak.pace))),
            f"{prefix}READ_TIMEOUT": str(READ_TIMEOUT),
            f"{prefix}MAX_IN_FLIGHT": "4",
            f"{prefix}VERIFY_REQUESTS": "2000",
            f"{prefix}LOCK_TIMEOUT": "300",
        }
    return settings


def instance_settings() -> dict[str, Any]:
    """The Dagster instance of a deployment, for two cores and with shorter time-outs."""
    settings: dict[str, Any] = yaml.safe_load((ROOT / "dagster.production.yaml").read_text())
    settings["concurrency"]["runs"]["max_concurrent_runs"] = MAX_CONCURRENT_RUNS
    settings["run_monitoring"] |= {"start_timeout_seconds": 120, "poll_interval_seconds": 20}
    return settings


@contextmanager
def started_soak(settings: SoakSettings) -> Iterator[Soak]:
    """Starts upstream, warehouse, webhook and Dagster, until the block ends."""
    folder = settings.folder
    for name in ("home", "tmp", "compute_logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "clock").write_text("0")
    (folder / "home" / "dagster.yaml").write_text(yaml.safe_dump(instance_settings()))
    marker = uuid.uuid4().hex
    with (
        pytest.MonkeyPatch.context() as patch,
        changing_upstream(settings.seed) as upstream,
        STORES[settings.destination](folder) as store,
        postgres_database() as (url, connect),
    ):
        for name in list(os.environ):
            if name.startswith(("SOURCES__", "DESTINATION__", "ANALYTICS_INGEST", "DAGSTER_", "DLT_")):
                patch.delenv(name)
        use_folder(patch, folder)
        webhook = ChatWebhook()
        webhook.received = Messages()
        set_environment(
            patch,
            {
                **upstream.environment(settings.accounts),
                **store.settings,
                **settings_of(settings, marker=marker),
                "DAGSTER_POSTGRES_URL": url.replace("postgresql://", "postgresql+psycopg2://"),
                "ANALYTICS_INGEST_WEBHOOK_URL": webhook.url,
            },
        )
        dagster = SoakDagster(folder / "home", daemon=True, modules=(LOCATION,))
        sampler = Sampler(
            marker=f"{MARKER}={marker}",
            parts=lambda: {part.removesuffix(f" {LOCATION}"): pid for part, pid in dagster.pids.items()},
            disk=lambda: disk_of(settings, store, connect),
            every=5.0 if settings.seconds > 300 else 1.0,
        )
        soak = Soak(settings, upstream=upstream, store=store, dagster=dagster, webhook=webhook, sampler=sampler)
        try:
            yield soak
        finally:
            with suppress(RuntimeError):
                sampler.stop()
            dagster.stop()
            for pid in sampler.run_processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            webhook.server.shutdown()
            soak.instance.dispose()


def disk_of(
    settings: SoakSettings, store: Store, connect: Callable[[], psycopg2.extensions.connection]
) -> Mapping[str, float]:
    """Bytes of everything that a soak writes, and the numbers that they depend on."""
    folder = settings.folder
    found: dict[str, float] = {
        "temporary files": folder_bytes(folder / "tmp"),
        "dlt's folder": folder_bytes(folder / "dlt"),
        "compute logs": folder_bytes(folder / "compute_logs"),
        "output of the parts": folder_bytes(folder / "home"),
    }
    connection = connect()
    try:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT pg_database_size(current_database()), "
            "(SELECT count(*) FROM event_logs), (SELECT count(*) FROM runs), "
            "(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())"
        )
        size, events, runs, sessions = cursor.fetchone() or (0, 0, 0, 0)
    finally:
        connection.close()
    found |= {"Dagster's storage": size, "events": events, "runs": runs}
    found["sessions of Dagster's storage"] = sessions
    if settings.destination == "postgres":
        with store.reading() as query:
            found["warehouse"], found["sessions of the warehouse"] = query(
                "SELECT pg_database_size(current_database()), "
                "(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())"
            )[1][0]
            found["endpoints' tables"], found["rows"] = (float(each or 0) for each in query(TABLES)[1][0])
    else:
        found["warehouse"] = folder_bytes(folder) - folder_bytes(folder / "tmp")
    return found


def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Executes ``analytics-ingest`` with the settings of the soak."""
    return subprocess.run(
        [sys.executable, "-m", "analytics_ingest", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
