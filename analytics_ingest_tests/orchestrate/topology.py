"""The services of compose.yaml as processes of this machine, with PostgreSQL and RabbitMQ behind them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from typing import Any

import psycopg2
import pytest
import requests

from analytics_ingest_tests.compose import SECRETS, Service, read_services
from analytics_ingest_tests.conftest import ROOT
from analytics_ingest_tests.orchestrate.instance import TIMEOUT, GraphqlClient, free_port
from analytics_ingest_tests.orchestrate.rabbitmq import ADDRESS, virtual_host
from analytics_ingest_tests.stores import Store, postgres_database, store_behind

Connect = Callable[..., psycopg2.extensions.connection]
LOCATION = "analytics_ingest"
"""The name of the code location in workspace.production.yaml."""
CODE_LOCATION, WEBSERVER, DAEMON = "code_location", "webserver", "daemon"
SERVERS = {CODE_LOCATION: "4000", WEBSERVER: "3000"}
"""The services on whose port others depend."""
ROLES = re.compile(r"\b(dagster|warehouse)\b")
SCRIPTS = "docker-entrypoint-initdb.d"
"""The folder of PostgreSQL's container with what it executes when its volume is new."""
BROKER_USER = "ingest"
PASSWORDS = ("POSTGRES", "DAGSTER", "WAREHOUSE", "RABBITMQ")
LOCK_HOLDERS = """
SELECT substring(application_name FROM 'process ([0-9]+)')::int
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND datname = %s AND application_name ~ 'process [0-9]+ on'
"""
CONTAINER_PATH = re.compile(r"(?<![\w.:/-])/(\w+)(/[\w./-]+)")
CONTAINER_FOLDERS = {"app", "home", "opt", "run"}
"""Folders of which each process has its own; of others it has the files that its image or service puts there."""
SOONER = {"poll_interval_seconds: 60": "poll_interval_seconds: 2", "retry_delay: 60": "retry_delay: 2"}
"""What differs here from dagster.production.yaml: how often the daemon looks at runs, and when it tries again."""
GRACE = 120
"""Seconds that a process may take to end by itself."""


class Topology(GraphqlClient):
    """The services that execute the project's image, each a process with a root folder and a process group of its own.

    A process has the environment of its container and nothing else, but for what Python needs.
    """

    def __init__(
        self, folder: Path, variables: Mapping[str, str], connect: Connect, *, suffix: str, vhost: str
    ) -> None:
        """Starts nothing yet.

        Args:
            folder: Where the files and the logs of all processes are.
            variables: What ``.env`` sets.
            connect: Opens a connection of PostgreSQL's superuser to a database.
            suffix: What the names of roles, databases and users end with here.
            vhost: The virtual host on RabbitMQ.
        """
        self.folder = folder
        self.variables = dict(variables)
        self.services = read_services(ROOT, variables, _secrets(variables))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.database_names = {name: f"{name}_{suffix}" for name in ("dagster", "warehouse")}
        self._suffix = suffix
        self._vhost = vhost
        self._connect = connect
        self._admin = connect("postgres")
        self._ports = {SERVERS[name]: str(free_port()) for name in SERVERS}
        super().__init__(f"http://127.0.0.1:{self._ports[SERVERS[WEBSERVER]]}", LOCATION)

    @property
    def workers(self) -> list[str]:
        """The names of the workers' processes."""
        return [f"worker_{number + 1}" for number in range(self.services["worker"].replicas)]

    @cached_property
    def store(self) -> Store:
        """The warehouse."""
        return store_behind(self._connect(self.database_names["warehouse"]), {})

    def start_all(self) -> None:
        """Creates the roles, starts every service at once, as a machine does that starts, and waits for the UI."""
        self._create_roles()
        for name in (CODE_LOCATION, WEBSERVER, DAEMON, *self.workers):
            self.start(name)
        self.wait_for(self._is_reachable, "the webserver with the code location")

    def start(self, name: str) -> None:
        """Starts a process, or one more time after its end."""
        service = self.services[name.rpartition("_")[0] if name in self.workers else name]
        root = self.folder / name
        self._make_files(service, root)
        command = [self._local(word, root) for word in service.command]
        if name in self.workers:
            # a container has a host name of its own
            command += ["--hostname", f"{name}@%h"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env={
                    "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
                    "PYTHONPATH": str(ROOT),
                    "HOME": str(root),
                    **{key: self._variable(key, value, root) for key, value in service.environment.items()},
                },
                cwd=root,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """Ends a process and all that it has started at once, as the end of a container does."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(GRACE)

    def stop(self) -> list[str]:
        """Stops all as ``docker compose stop`` does; gives the names of the processes that had to be killed."""
        for process in self.processes.values():
            process.terminate()
        killed = []
        for name, process in [*self.processes.items()]:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                killed.append(name)
                self.kill(name)
        self.processes.clear()
        return killed

    def wait_for(self, condition: Callable[[], Any], what: str, *, seconds: float = TIMEOUT) -> Any:
        """Polls a condition until its value counts as true, and gives the value; no process may end meanwhile."""

        def holds() -> Any:
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            assert not ended, f"{ended} ended\n{self.output()}"
            return condition()

        return super().wait_for(holds, what, seconds=seconds)

    def drop(self) -> None:
        """Kills what is left, and drops databases and roles."""
        for name in [*self.processes]:
            self.kill(name)
        for name in self.database_names.values():
            self._admin.cursor().execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            self._admin.cursor().execute(f"DROP ROLE IF EXISTS {name}")

    def leftover(self) -> list[str]:
        """The command lines of this machine's processes that belong to the topology."""
        return [command for path in Path("/proc").glob("[0-9]*") if (command := self._own_command(path))]

    def environment(self, name: str) -> str:
        """The environment that a process really has."""
        return Path(f"/proc/{self.processes[name].pid}/environ").read_text()

    def secrets(self, name: str) -> list[str]:
        """The contents of the secrets that a process can read."""
        return [path.read_text() for path in (self.folder / name / SECRETS[1:]).glob("*")]

    def printed(self) -> list[str]:
        """All that the processes, and the runs in them, have printed."""
        files = [*self.folder.glob("*.log"), *filter(Path.is_file, (self.folder / "logs").rglob("*"))]
        return [path.read_text(errors="replace") for path in files]

    def output(self) -> str:
        """The ends of all logs."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {path.stem}\n{path.read_text(errors='replace')[-2_500:]}" for path in logs)

    def sessions(self) -> list[tuple[Any, ...]]:
        """The sessions of the topology's roles in PostgreSQL."""
        return self._rows(
            "SELECT usename, datname, application_name, state FROM pg_stat_activity WHERE usename = ANY(%s)",
            [*self.database_names.values()],
        )

    def lock_holders(self) -> list[str]:
        """The names of the processes that hold the lock of an API."""
        found = self._rows(LOCK_HOLDERS, self.database_names["warehouse"])
        groups = {process.pid: name for name, process in self.processes.items()}
        return [groups[os.getpgid(pid)] for (pid,) in found]

    def locks(self) -> list[tuple[Any, ...]]:
        """All locks that sessions hold or wait for in the warehouse."""
        return self._rows(
            "SELECT locktype, mode, usename FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE usename = %s",
            self.database_names["warehouse"],
        )

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self._admin.cursor()
        cursor.execute(sql, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found

    def _is_reachable(self) -> bool:
        try:
            return self.is_up()
        except (AssertionError, requests.RequestException):
            return False

    def _own_command(self, process: Path) -> str:
        """The command line of a process of the topology; empty for any other one, and for one that has ended."""
        try:
            if f"={self.folder}/".encode() in (process / "environ").read_bytes():
                return (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            pass
        return ""

    def _create_roles(self) -> None:
        """Executes what the container of PostgreSQL executes when its volume is new."""
        psql = shutil.which("psql")
        if not psql:
            pytest.skip("no psql")
        service, root = self.services["postgres"], self.folder / "postgres"
        self._make_files(service, root)
        (script,) = (root / SCRIPTS).glob("*.sql")
        server = self._admin.info
        subprocess.run(
            [psql, "--set", "ON_ERROR_STOP=1", "--quiet", "--dbname", "postgres"],
            input=ROLES.sub(lambda found: f"{found[0]}_{self._suffix}", script.read_text()),
            text=True,
            check=True,
            env={
                **os.environ,
                **service.environment,
                "PGHOST": server.host,
                "PGPORT": str(server.port),
                "PGUSER": server.user,
                "PGPASSWORD": server.password,
            },
        )

    def _make_files(self, service: Service, root: Path) -> None:
        """Makes the files of a container below ``root``: its secrets, what the image has, its volumes."""
        for path, content in service.secrets.items():
            _place(root, path).write_text(self._local(content, root))
        for path, content in service.files.items():
            _place(root, path).write_text(_sooner(self._local(content, root)))
        for path, name in service.volumes.items():
            if not name:
                (root / path[1:]).mkdir(parents=True, exist_ok=True)
                continue
            (self.folder / name).mkdir(exist_ok=True)
            if not _place(root, path).is_symlink():
                _place(root, path).symlink_to(self.folder / name)

    def _variable(self, name: str, value: str, root: Path) -> str:
        """The value of a container's variable, as it is here."""
        if name == "ANALYTICS_INGEST_CODE_LOCATION":
            return "127.0.0.1"
        if name.startswith("DESTINATION__POSTGRES__CREDENTIALS__"):
            value = {"postgres": self._admin.info.host, **self.database_names}.get(value, value)
        return self._local(value, root)

    def _local(self, text: str, root: Path) -> str:
        """A text of a container with the addresses, names and paths that hold here."""
        server = self._admin.info
        text = re.sub(r"(//)(dagster|warehouse|ingest)(?=[:@])", rf"\1\2_{self._suffix}", text)
        text = re.sub(r"@postgres:5432/(dagster|warehouse)\b", rf"@{server.host}:{server.port}/\1_{self._suffix}", text)
        text = text.replace("@rabbitmq:5672//", f"@{ADDRESS}/{self._vhost}").replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        text = re.sub(r"\b(4000|3000)\b", lambda found: self._ports[found[0]], text)
        return CONTAINER_PATH.sub(
            lambda path: f"{root}{path[0]}" if _is_own(path[1], root / path[0][1:]) else path[0], text
        )


def _secrets(variables: Mapping[str, str]) -> dict[str, str]:
    """The secrets of compose.yaml: the passwords, and what has one of them in it."""
    dagster, broker = variables["DAGSTER_PASSWORD"], variables["RABBITMQ_PASSWORD"]
    return {
        **{f"{name}_password".lower(): variables[f"{name}_PASSWORD"] for name in PASSWORDS},
        "dagster_postgres_url": f"postgresql+psycopg2://dagster:{dagster}@postgres:5432/dagster",
        "celery_broker": f"amqp://ingest:{broker}@rabbitmq:5672//",
    }


def _is_own(folder: str, place: Path) -> bool:
    """Whether a path of a container is below the root folder of its process."""
    return folder in CONTAINER_FOLDERS or place.exists()


def _sooner(text: str) -> str:
    for setting, here in SOONER.items():
        text = text.replace(setting, here)
    return text


def _place(root: Path, path: str) -> Path:
    """The place of a container's path, whose folder is there."""
    place = root / path[1:]
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


@contextmanager
def topology(folder: Path, **variables: str) -> Iterator[Topology]:
    """All services, running, with passwords of their own; at the end nothing of them is left.

    Args:
        folder: Where files and logs are.
        variables: What ``.env`` sets beside the passwords.
    """
    given = {**{f"{name}_PASSWORD": token_hex(16) for name in PASSWORDS}, **variables}
    with postgres_database() as (credentials, connect):
        suffix = credentials[-6:]
        with virtual_host(f"{BROKER_USER}_{suffix}", given["RABBITMQ_PASSWORD"]) as vhost:
            found = Topology(folder, given, connect, suffix=suffix, vhost=vhost)
            try:
                found.start_all()
                yield found
            finally:
                found.drop()
