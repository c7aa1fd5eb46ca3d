"""Processes that are measured: the sandbox on one side, what asks it on the other."""

from __future__ import annotations

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from rich.table import Table

from analytics_ingest.sandbox.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

IN_FLIGHT = 32


@dataclass(frozen=True)
class Cost:
    """What a job took: seconds on the clock, seconds of CPU, peak memory in MB, and what it says of itself."""

    wall: float
    cpu: float
    rss: float
    said: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.said[name]


class Sandbox:
    """The embedded upstream in a process of its own."""

    def __init__(self, url: str, environment: dict[str, str]) -> None:
        self.url = url
        self.environment = environment

    def set(self, **options: Any) -> None:
        """Sets options, such as ``latency`` in seconds."""
        requests.post(f"{self.url}/_sandbox/options", json=options, timeout=30).raise_for_status()

    def advance(self, hours: float) -> dict[str, dict[str, dict[str, int]]]:
        """Lets time pass in the data; how many rows were added, changed and removed, by API and endpoint."""
        answer = requests.post(f"{self.url}/_sandbox/advance", json={"hours": hours}, timeout=60)
        answer.raise_for_status()
        changes: dict[str, dict[str, dict[str, int]]] = answer.json()["changes"]
        return changes

    def setting(self, api: str, name: str) -> str:
        return self.environment[f"SOURCES__{api}__{name}".upper()]


def settings_of(base_urls: Mapping[str, str]) -> dict[str, str]:
    """The environment variables for a sandbox with its own keys."""
    return {
        f"SOURCES__{api}__{name}".upper(): value
        for api, url in base_urls.items()
        for name, value in (("base_url", url), ("api_key", Options().api_keys[api]), ("profile", "none"))
    }


@contextmanager
def sandbox(*, scale: float = 1.0) -> Iterator[Sandbox]:
    """A sandbox, healthy and without latency: the one at ``BENCH_URL``, or one that is started for the while."""
    if running := os.environ.get("BENCH_URL"):
        found = requests.get(running, timeout=30).json()["base_urls"]
        yield Sandbox(running.rstrip("/"), settings_of(found))
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "analytics_ingest", "sandbox", "--port", "0", "--scale", str(scale)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout
        url = re.search(r"http://\S+[0-9]", process.stdout.readline())
        assert url
        environment = {}
        for line in process.stdout:
            name, _, value = line.removeprefix("export ").strip().partition("=")
            environment[name] = value
            if len(environment) == 15:
                break
        yield Sandbox(url[0], environment)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def incidents(rows: int) -> Iterator[dict[str, str]]:
    """An upstream with so many incidents, a thousand on each page; the settings for it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "analytics_ingest_tests.tools.bench.upstream", str(rows)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield {
            "SOURCES__INCIDENT_RESPONSE__BASE_URL": process.stdout.readline().strip(),
            "SOURCES__INCIDENT_RESPONSE__API_KEY": "key",
            "SOURCES__INCIDENT_RESPONSE__PROFILE": "none",
            "SOURCES__INCIDENT_RESPONSE__INCIDENTS__LIMIT": "1000",
        }
    finally:
        process.terminate()
        process.wait()


class Place:
    """A folder with a warehouse of its own, in which jobs run one after the other."""

    def __init__(self, folder: Path, upstream: Mapping[str, str], **settings: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **os.environ,
            **upstream,
            "DLT_DATA_DIR": str(folder / "dlt"),
            "DESTINATION__DUCKDB__CREDENTIALS": str(folder / "warehouse.duckdb"),
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "CRITICAL",
            **settings,
        }
        for name in [key for key in upstream if key.endswith("__BASE_URL")]:
            self.environment.setdefault(name.replace("BASE_URL", "MAX_IN_FLIGHT"), str(IN_FLIGHT))

    def run(self, job: str, /, **arguments: Any) -> Cost:
        """Runs a job of ``child`` in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "analytics_ingest_tests.tools.bench.child", job, json.dumps(arguments)],
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{job} {arguments}: {done.stderr[-2000:]}")
        said = json.loads(done.stdout.splitlines()[-1])
        return Cost(said.pop("wall"), said.pop("cpu"), said.pop("rss"), said)

    def time(self, *command: str) -> Cost:
        """Runs a command to its end, its start included."""
        return timed(*command, env=self.environment, cwd=self.folder)


def timed(*command: str, **options: Any) -> Cost:
    """What a command costs, its start included; ``options`` are those of ``subprocess.run``."""

    def cpu() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    begun, spent = time.perf_counter(), cpu()
    subprocess.run(command, check=True, capture_output=True, **options)
    return Cost(time.perf_counter() - begun, cpu() - spent, rss=0.0, said={})


def table(title: str, *columns: str) -> Table:
    """A table for the terminal; the first column is text, the others are figures."""
    made = Table(title=title, title_justify="left")
    for column in columns:
        made.add_column(column, justify="left" if not column else "right")
    return made


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure; what a job says is that of the last."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        statistics.median(cost.rss for cost in costs),
        costs[-1].said,
    )
