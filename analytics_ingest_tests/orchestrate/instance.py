"""A Dagster instance with its real parts running: code location, webserver and, if wanted, daemon; over GraphQL."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import requests
import yaml

from analytics_ingest_tests.waiting import eventually

TIMEOUT = 120
"""Seconds that a part may take to start, or a run to end."""
LOCATION = "analytics_ingest.definitions"
POOL = ("--db-pool-max-overflow", "60")
"""The webserver's option for connections to Dagster's storage, as in compose.yaml: see docs/deployment.md."""
LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
REEXECUTE = """
mutation ($params: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
RUN = """
query ($id: ID!) {
  runOrError(runId: $id) {
    ... on Run { status assetMaterializations { assetKey { path } } }
  }
}
"""
RUNS = """
query ($filter: RunsFilter!) {
  runsOrError(filter: $filter) {
    ... on Runs { results { runId status tags { key value } assetSelection { path } } }
  }
}
"""
LOGS = """
query ($id: ID!) {
  logsForRun(runId: $id) {
    ... on EventConnection { events { __typename ... on MessageEvent { stepKey message } } }
  }
}
"""
SCHEDULE = """
mutation ($selector: ScheduleSelector!) {
  startSchedule(scheduleSelector: $selector) { __typename ... on PythonError { message } }
}
"""
STATE = """
query ($selector: ScheduleSelector!) {
  scheduleOrError(scheduleSelector: $selector) { ... on Schedule { scheduleState { id } } }
}
"""
RUNNING = """
query ($selector: RepositorySelector!) {
  repositoryOrError(repositorySelector: $selector) {
    ... on Repository {
      schedules { name scheduleState { status } }
      sensors { name sensorState { status } }
    }
  }
}
"""
STOP_SCHEDULE = """
mutation ($id: String!) { stopRunningSchedule(id: $id) { __typename ... on PythonError { message } } }
"""
SENSOR = """
mutation ($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename ... on Sensor { id } ... on PythonError { message } }
}
"""
STOP_SENSOR = """
mutation ($id: String!) { stopSensor(id: $id) { __typename ... on PythonError { message } } }
"""
TICKS = """
query ($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) {
    ... on Sensor { sensorState { ticks(limit: 50) { status skipReason runIds timestamp } } }
  }
}
"""
TERMINATE = """
mutation ($id: String!) {
  terminateRun(runId: $id) { __typename ... on PythonError { message } ... on TerminateRunFailure { message } }
}
"""
ASSET = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      freshnessStatusInfo { freshnessStatus }
      assetMaterializations(limit: 1) { runId metadataEntries { label ... on IntMetadataEntry { intValue } } }
      assetChecksOrError {
        ... on AssetChecks { checks { name executionForLatestMaterialization { status runId } } }
      }
    }
  }
}
"""
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
PORTS = (10_000, 32_000)
"""Below those that the system gives."""
RANDOM = random.SystemRandom()


def free_port() -> int:
    """A port of this machine on which no process listens.

    Not one that the system gives: it gives two processes the same one, if neither listens yet. Two code locations do
    listen on one port then, as gRPC shares it, and each gets some of the requests of both.
    """
    while True:
        port = RANDOM.randrange(*PORTS)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


def _listens(port: int) -> bool:
    """Whether a process listens; the code location does once it has loaded."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


class GraphqlClient(ABC):
    """What a user does in the UI, over the GraphQL of a webserver."""

    def __init__(self, url: str, location: str) -> None:
        """Sends nothing yet.

        Args:
            url: The webserver, without a trailing slash.
            location: The name of the code location whose jobs, schedules and sensors are meant.
        """
        self.url = url
        self._repository = {"repositoryLocationName": location, "repositoryName": "__repository__"}

    @abstractmethod
    def output(self) -> str:
        """What the parts have printed, for the message of a wait that fails."""

    def is_up(self) -> bool:
        """Whether the webserver responds and has loaded a code location."""
        try:
            found = self.query("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
        except requests.RequestException:
            return False
        return bool(found["repositoriesOrError"].get("nodes"))

    def wait_for(self, condition: Callable[[], Any], what: str, *, seconds: float = TIMEOUT) -> Any:
        """Polls a condition until its value counts as true, and gives the value."""
        return eventually(condition, seconds, interval=0.5, state=lambda: f"{what}\n{self.output()[-6000:]}")

    def query(self, text: str, **variables: Any) -> dict[str, Any]:
        """The data of a GraphQL query."""
        body = requests.post(f"{self.url}/graphql", json={"query": text, "variables": variables}, timeout=60).json()
        assert not body.get("errors"), json.dumps(body["errors"])[:2000]
        data: dict[str, Any] = body["data"]
        return data

    def launch(
        self, job: str, *, config: dict[str, Any] | None = None, assets: list[str] | None = None, **tags: str
    ) -> str:
        """Launches a job, or some of its assets, and gives the run's id."""
        selector: dict[str, Any] = {**self._repository, "pipelineName": job}
        if assets is not None:
            selector["assetSelection"] = [{"path": key.split("/")} for key in assets]
        params = {
            "selector": selector,
            "runConfigData": config or {},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        return self._launched(self.query(LAUNCH, params=params)["launchRun"])

    def reexecute(self, run_id: str, strategy: str) -> str:
        """Executes a run again, and gives the new run's id."""
        params = {"parentRunId": run_id, "strategy": strategy}
        return self._launched(self.query(REEXECUTE, params=params)["launchRunReexecution"])

    def _launched(self, result: dict[str, Any]) -> str:
        assert result["__typename"] == "LaunchRunSuccess", result
        run_id: str = result["run"]["runId"]
        return run_id

    def ended(self, run_id: str) -> dict[str, Any]:
        """Waits for a run's end; gives its status and what it materialised."""

        def end() -> dict[str, Any] | None:
            run: dict[str, Any] = self.query(RUN, id=run_id)["runOrError"]
            return run if run["status"] in ENDED else None

        run: dict[str, Any] = self.wait_for(end, f"end of run {run_id}")
        return run

    def runs(self, **filter_: Any) -> list[dict[str, Any]]:
        """Runs, the latest first; ``tags`` filters by tags."""
        if tags := filter_.pop("tags", None):
            filter_["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        found: list[dict[str, Any]] = self.query(RUNS, filter=filter_)["runsOrError"]["results"]
        return found

    def events(self, run_id: str, *kinds: str) -> list[dict[str, Any]]:
        """The events of a run, the earliest first; of some kinds, such as ``ExecutionStepStartEvent``."""
        found = self.query(LOGS, id=run_id)["logsForRun"]["events"]
        return [event for event in found if not kinds or event["__typename"] in kinds]

    def start_schedule(self, name: str) -> None:
        """Turns a schedule on."""
        done = self.query(SCHEDULE, selector={**self._repository, "scheduleName": name})["startSchedule"]
        assert done["__typename"] == "ScheduleStateResult", done

    def stop_schedule(self, name: str) -> None:
        """Turns a schedule off."""
        selector = {**self._repository, "scheduleName": name}
        found = self.query(STATE, selector=selector)["scheduleOrError"]["scheduleState"]["id"]
        done = self.query(STOP_SCHEDULE, id=found)["stopRunningSchedule"]
        assert done["__typename"] == "ScheduleStateResult", done

    def start_sensor(self, name: str) -> str:
        """Turns a sensor on; gives its id."""
        done = self.query(SENSOR, selector={**self._repository, "sensorName": name})["startSensor"]
        assert done["__typename"] == "Sensor", done
        sensor: str = done["id"]
        return sensor

    def stop_sensor(self, sensor: str) -> None:
        """Turns a sensor off."""
        done = self.query(STOP_SENSOR, id=sensor)["stopSensor"]
        assert done["__typename"] == "StopSensorMutationResult", done

    def running_automation(self) -> set[str]:
        """The names of the schedules and sensors that are on."""
        found = self.query(RUNNING, selector=self._repository)["repositoryOrError"]
        states = {each["name"]: each["scheduleState"] for each in found["schedules"]}
        states |= {each["name"]: each["sensorState"] for each in found["sensors"]}
        return {name for name, state in states.items() if state["status"] == "RUNNING"}

    def ticks(self, name: str) -> list[dict[str, Any]]:
        """A sensor's ticks, the latest first."""
        found: list[dict[str, Any]] = self.query(TICKS, selector={**self._repository, "sensorName": name})[
            "sensorOrError"
        ]["sensorState"]["ticks"]
        return found

    def cancel(self, run_id: str) -> None:
        """Requests the termination of a run."""
        done = self.query(TERMINATE, id=run_id)["terminateRun"]
        assert done["__typename"] == "TerminateRunSuccess", done

    def asset(self, key: str) -> dict[str, Any]:
        """An asset's freshness, latest materialisation and checks."""
        found: dict[str, Any] = self.query(ASSET, key={"path": key.split("/")})["assetNodeOrError"]
        return found


class RunningDagster(GraphqlClient):
    """A webserver on a port of its own, with the code locations behind it, which the daemon uses as well."""

    def __init__(self, home: Path, *, daemon: bool = False, modules: Sequence[str] = (LOCATION,)) -> None:
        """Starts the parts, and waits until the code locations have loaded.

        Args:
            home: The folder of ``dagster.yaml``; the parts' output goes there.
            daemon: Whether to start the daemon as well.
            modules: The modules of the code locations; jobs, schedules and sensors are those of the first one.
        """
        self.home = home
        self._commands: dict[str, Sequence[str]] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        ports = {module: free_port() for module in modules}
        servers = [
            {"grpc_server": {"host": "127.0.0.1", "port": grpc, "location_name": module}}
            for module, grpc in ports.items()
        ]
        workspace = home / "workspace.yaml"
        workspace.write_text(yaml.safe_dump({"load_from": servers}))
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}", modules[0])
        try:
            for module, grpc in ports.items():
                self._start(
                    f"code location {module}",
                    *("dagster", "api", "grpc", "--host", "127.0.0.1", "--port", str(grpc), "-m", module),
                )
                # one after the other: the first one makes the instance's tables
                self.wait_for(partial(_listens, grpc), f"the code location {module}")
            self._start(
                "webserver",
                *("dagster_webserver", "--host", "127.0.0.1", "--port", str(port), "-w", str(workspace)),
                *POOL,
            )
            if daemon:
                self._start("daemon", "dagster._daemon", "run", "-w", str(workspace))
            self.wait_for(self.is_up, "the webserver")
        except BaseException:
            self.stop()
            raise

    def _start(self, part: str, module: str, *arguments: str) -> None:
        self._commands[part] = (module, *arguments)
        self.start(part)

    def start(self, part: str) -> None:
        """Starts a part, for the first time or after it was killed."""
        module, *arguments = self._commands[part]
        with (self.home / f"{module}.log").open("ab") as log:
            self._processes[part] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=dict(os.environ),
                stdout=log,
                stderr=log,
            )

    @property
    def pids(self) -> dict[str, int]:
        """The processes' ids, by part: ``daemon``, ``webserver``, and ``code location`` with the module."""
        return {part: process.pid for part, process in self._processes.items()}

    def kill(self, part: str) -> None:
        """Kills a part, which has no time to clean up."""
        self._processes[part].kill()
        self._processes[part].wait()

    def output(self) -> str:
        """What the parts have printed."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.home.glob("*.log")))

    def stop(self) -> None:
        """Stops the parts."""
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
