"""Builds the image and runs its services: ``make test-image``.

If Docker answers, Docker builds and runs them. Else the steps of the Dockerfile are executed in a Debian root that
debootstrap makes, and the services of ``compose.yaml`` run there: as their users, without privileges, with their
volumes, secrets and read-only roots, in a network that has this machine alone. Two syncs of one API from the sandbox
follow, into PostgreSQL and into DuckDB. Root is needed for it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import psycopg2

from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.sandbox.world import World
from analytics_ingest.warehouse.destinations.ducklake import EXTENSIONS
from analytics_ingest_tests.tools.image.compose_file import read_services
from analytics_ingest_tests.tools.image.containers import Container, Project
from analytics_ingest_tests.tools.image.dockerfile import ImageConfig
from analytics_ingest_tests.tools.image.resolver import Resolver
from analytics_ingest_tests.tools.image.roots import build_image, build_postgres, load, make_base, overlay, save, say

ROOT = Path(__file__).parents[3]
BASE = ROOT / ".venvs" / "image-base"
"""The Debian root, which is kept: remove it and the file beside it to make it anew."""
API = "feature_management"
SCALE = 0.3
KEY = "/run/api_keys/feature_management"
WAIT = 240
"""Seconds that a service may take to start, and a run to end."""
SEVERAL = ("postgres", "code_location", "webserver", "daemon")
DATABASE = """
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --encoding=UTF8 --locale=C.UTF-8 --username=postgres --auth=scram-sha-256 \\
        --pwfile="$POSTGRES_PASSWORD_FILE" >/dev/null
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --silent -o "-c listen_addresses=''" --log=/tmp/log start
    export PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")"
    for file in /docker-entrypoint-initdb.d/*.sql; do psql -v ON_ERROR_STOP=1 -U postgres -f "$file"; done
    pg_ctl --wait stop >/dev/null
fi
exec postgres -c listen_addresses='*' -c max_connections=100
"""
"""What stands in for the entrypoint of PostgreSQL's image."""
LAKE = """
import duckdb
from analytics_ingest.warehouse.destinations.ducklake import EXTENSIONS, provide_extensions
provide_extensions()
for name in EXTENSIONS:
    duckdb.sql(f"LOAD {name}")
    print(name)
"""
"""What loads DuckDB's extensions for a lake."""
NOT_COVERED = """\
not covered: the Python of the base image (Debian's stands in), the images of PostgreSQL and RabbitMQ (Debian's
PostgreSQL stands in, Celery is left out), limits of memory and processes, the networks between the services, the
rotation of logs"""


def main() -> None:
    """Chooses between Docker and the roots of debootstrap."""
    parser = argparse.ArgumentParser(prog="make test-image", description=__doc__)
    parser.add_argument("--inside", choices=["build", "run"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        (_build if arguments.inside == "build" else _run)(arguments.folder)
        return
    started = time.monotonic()
    if _docker_answers():
        with_docker()
    else:
        without_docker()
    say(f"passed in {time.monotonic() - started:.0f} s")


# with Docker


def _docker_answers() -> bool:
    commands = (["docker", "info"], ["docker", "compose", "version"])
    try:
        return all(subprocess.run(each, check=False, capture_output=True).returncode == 0 for each in commands)
    except OSError:
        return False


def with_docker() -> None:
    """Builds the image and starts the services until all are healthy, in a project of its own."""
    with tempfile.TemporaryDirectory(prefix="analytics_ingest-image-") as name:
        folder = Path(name)
        _copy_project(folder)
        subprocess.run(["sh", "deploy/secrets.sh"], cwd=folder, check=True)
        (folder / ".env").write_text("ANALYTICS_INGEST_AUTOMATION=stopped\n")
        compose = ["docker", "compose", "--project-name", f"analytics-ingest-test-{os.getpid()}"]
        subprocess.run([*compose, "config", "--quiet"], cwd=folder, check=True)
        subprocess.run([*compose, "build"], cwd=folder, check=True)
        try:
            subprocess.run([*compose, "up", "--detach", "--wait", "--wait-timeout", str(WAIT)], cwd=folder, check=True)
            subprocess.run([*compose, "exec", "code_location", "analytics-ingest", "settings"], cwd=folder, check=True)
        finally:
            subprocess.run([*compose, "down", "--volumes"], cwd=folder, check=False)
    say("not covered with Docker: a sync, as the sandbox is not part of the image")


def _copy_project(folder: Path) -> None:
    """Copies what an image and its services are made of, without this project's own settings and secrets."""
    for name in ("analytics_ingest", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("*.toml", "*.txt", "*.yaml", "README.md", "Dockerfile", ".dockerignore"):
        for path in ROOT.glob(name):
            shutil.copy(path, folder)


# without Docker


def without_docker() -> None:
    """Builds and runs in namespaces of their own: mounts and processes end with them, however this process ends."""
    if os.geteuid() != 0:
        sys.exit(
            "Docker does not answer, and without it make test-image needs root (chroot, mounts): sudo make test-image"
        )
    if missing := [each for each in ("debootstrap", "unshare", "nsenter", "setpriv", "ip") if not shutil.which(each)]:
        sys.exit(f"Docker does not answer, and without it {', '.join(missing)} is needed: apt-get install debootstrap")
    folder = Path(tempfile.mkdtemp(prefix="analytics_ingest-image-"))
    folder.chmod(0o755)
    (folder / "project").mkdir()
    _copy_project(folder / "project")
    try:
        for part, network in (("build", []), ("run", ["--net"])):
            command = [sys.executable, "-m", __spec__.name.removesuffix(".__main__"), "--inside", part]
            namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *network]
            ended = subprocess.run([*namespaces, *command, "--folder", str(folder)], cwd=ROOT, check=False)
            if ended.returncode:
                sys.exit(f"failed: the {part} of the image")
    finally:
        # the mounts were in the namespaces: what is below is files alone
        shutil.rmtree(folder, ignore_errors=True)
    say(NOT_COVERED)


def _build(folder: Path) -> None:
    started = time.monotonic()
    if not BASE.with_name(f"{BASE.name}.ready").exists():
        say("making a Debian root with debootstrap (two or three minutes; it is kept)")
    make_base(BASE)
    say("building the image")
    save(build_image(folder / "project", overlay(BASE, folder / "image")), folder / "image.json")
    say("installing PostgreSQL")
    build_postgres(overlay(BASE, folder / "postgres"))
    say(f"built in {time.monotonic() - started:.0f} s")


def _run(folder: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    resolver = Resolver()
    os.umask(0o022)
    with SandboxServer(World(scale=SCALE)) as server:
        Deployment(folder, server, resolver).test()


class Deployment:
    """The services, and what is checked of them."""

    def __init__(self, folder: Path, server: SandboxServer, resolver: Resolver) -> None:
        """Creates secrets and settings as a user does."""
        self.server = server
        self.resolver = resolver
        project = folder / "project"
        subprocess.run(["sh", "deploy/secrets.sh"], cwd=project, check=True, capture_output=True)
        key = project / "secrets" / "api_keys" / API
        key.write_text(f"{server.options.api_keys[API]}\n")
        key.chmod(0o600)
        # as docs/deployment.md has it: again, after a file was added
        subprocess.run(["sh", "deploy/secrets.sh"], cwd=project, check=True, capture_output=True)
        settings = {
            "ANALYTICS_INGEST_AUTOMATION": "stopped",
            f"SOURCES__{API.upper()}__BASE_URL": server.base_url(API),
            f"SOURCES__{API.upper()}__API_KEY_FILE": KEY,
        }
        self.project = Project(folder=project, state=folder / "state", env_file=settings)
        self.project.state.mkdir()
        self.services = read_services(project, settings)
        # mounts of another namespace are gone
        self.image = load(folder / "image.json")
        self.roots = {name: overlay_again(folder / name) for name in ("image", "postgres")}
        self.running: list[Container] = []

    def test(self) -> None:
        """Starts the services, syncs twice and checks; shows the logs if something fails."""
        try:
            self.start_services()
            self.check_isolation()
            self.check_syncs()
            self.check_lake()
            self.check_files()
            self.check_silence()
        except BaseException:
            for each in self.running:
                sys.stderr.write(f"--- {each.name}\n{each.output()[-4000:]}\n")
            raise
        finally:
            for each in reversed(self.running):
                each.stop()

    # the services

    def start(self, name: str, **options: Any) -> Container:
        """Starts a service."""
        service = self.services[options.pop("service", name)]
        if service["image"].startswith("postgres:"):
            config = ImageConfig(environment={**self.image.environment, "PGDATA": "/var/lib/postgresql/data"})
            options["command"] = ["sh", "-c", DATABASE]
            container = Container(self.project, name, service, config, self.roots["postgres"], **options)
        else:
            container = Container(self.project, name, service, self.image, self.roots["image"], **options)
        self.running.append(container.start())
        return container

    def start_services(self) -> None:
        """Starts each service and waits until its health check succeeds."""
        for name in SEVERAL:
            started = time.monotonic()
            container = self.start(name)
            wait_for(container.is_healthy, f"health of {name}")
            say(f"  {name}: healthy after {time.monotonic() - started:.0f} s")
        self.code_location, self.daemon = self.running[1], self.running[3]

    def check_isolation(self) -> None:
        """Who the services are, what they can write to, and what they know."""
        for container in self.running:
            status = container.execute(["cat", "/proc/self/status"]).stdout
            fields = dict(re.findall(r"^(\w+):\s*(\S+)", status, re.MULTILINE))
            expect(
                (fields["CapEff"], fields["CapBnd"], fields["NoNewPrivs"]), ("0" * 16, "0" * 16, "1"), container.name
            )
            expect(fields["Uid"], "999" if container.name == "postgres" else "10001", f"user of {container.name}")
            written = container.execute(
                ["sh", "-c", "for d in / /app /opt/dagster /etc /home/ingest; do touch $d/x; done"]
            )
            expect(
                written.stderr.count("Read-only file system") + written.stderr.count("No such file"), 5, container.name
            )
        passwords = {
            name: (self.project.folder / "secrets" / name).read_text().strip()
            for name in ("postgres_password", "dagster_password", "warehouse_password", "rabbitmq_password")
        } | {"key": self.server.options.api_keys[API]}
        known = {
            container.name: {
                name
                for name, value in passwords.items()
                if container.execute(
                    ["grep", "-rqsF", value, "/run/secrets", "/run/api_keys", "/proc/1/environ"]
                ).returncode
                == 0
            }
            for container in self.running
        }
        syncing = {"dagster_password", "warehouse_password", "rabbitmq_password", "key"}
        databases = {"postgres_password", "dagster_password", "warehouse_password"}
        parts = {"webserver": {"dagster_password"}, "daemon": {"dagster_password"}}
        expect(known, {"postgres": databases, "code_location": syncing, **parts}, "secrets of the services")
        for container in self.running:
            configured = " ".join(container.config.environment.values())
            expect(
                [name for name, value in passwords.items() if value in configured], [], f"variables of {container.name}"
            )
        say("  users, capabilities, read-only roots and secrets: as compose.yaml has them")

    # the syncs

    def check_syncs(self) -> None:
        """A run that the daemon launches loads into PostgreSQL, and one beside it into DuckDB: every row, exactly."""
        expected = {
            endpoint: len(self.server.world.expected(API, endpoint))
            for api, endpoint in world_endpoints()
            if api == API
        }
        job = ["dagster", "job", "launch", "--workspace", "/opt/dagster/workspace.yaml", "--job", f"{API}_sync"]
        launched = self.daemon.execute(["python", "-m", "analytics_ingest.entrypoint", *job], timeout=WAIT)
        if launched.returncode:
            raise SystemExit(f"the run was not launched: {launched.stdout}{launched.stderr}")
        wait_for(lambda: self.run_status() in ("SUCCESS", "FAILURE"), "run", every=2)
        expect(self.run_status(), "SUCCESS", "run")
        with self.connect("warehouse") as connection, connection.cursor() as cursor:
            found = {}
            for endpoint in expected:
                cursor.execute(f'SELECT count(*) FROM {API}."{endpoint}"')
                found[endpoint] = cursor.fetchone()[0]
        expect(found, expected, "rows in PostgreSQL")
        say(f"  PostgreSQL: {len(found)} tables, {sum(found.values())} rows, as the sandbox has them")

        duck = self.start(
            "duckdb_run",
            service="code_location",
            command=["dagster", "job", "execute", "-m", "analytics_ingest.definitions", "-j", f"{API}_sync"],
            variables={"ANALYTICS_INGEST_DESTINATION": "duckdb"},
        )
        expect(duck.wait(WAIT), 0, "sync into DuckDB")
        file = self.project.state / "volumes" / "data" / "analytics_ingest.duckdb"
        with duckdb.connect(str(file), read_only=True) as database:
            found = {each: database.sql(f'SELECT count(*) FROM {API}."{each}"').fetchall()[0][0] for each in expected}
        expect(found, expected, "rows in DuckDB")
        say(f"  DuckDB: {len(found)} tables, {sum(found.values())} rows, as the sandbox has them")

    def check_lake(self) -> None:
        """DuckDB's extensions for a lake are in the image, as nothing can be installed while it runs."""
        ended = self.code_location.execute(["python", "-c", LAKE])
        expect((ended.returncode, ended.stdout.split()), (0, list(EXTENSIONS)), f"extensions of a lake {ended.stderr}")
        say("  DuckLake: its extensions are there")

    def connect(self, role: str) -> psycopg2.extensions.connection:
        """A connection to a role's database, over TCP and with its password."""
        password = (self.project.folder / "secrets" / f"{role}_password").read_text().strip()
        return psycopg2.connect(host="127.0.0.1", user=role, dbname=role, password=password)

    def run_status(self) -> str:
        """The status of the newest run in Dagster's storage."""
        with self.connect("dagster") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT status FROM runs ORDER BY id DESC LIMIT 1")
            row = cursor.fetchone()
        return str(row[0]) if row else ""

    # what they leave behind

    def check_files(self) -> None:
        """No file of a volume is for other users."""
        volumes = self.project.state / "volumes"
        found = {
            str(path.relative_to(volumes)): oct(stat.S_IMODE(path.lstat().st_mode))
            for path in volumes.rglob("*")
            if "postgres" not in path.relative_to(volumes).parts[0] and not path.is_symlink()
        }
        expect({name: mode for name, mode in found.items() if not mode.endswith("00")}, {}, "permissions of files")
        expect(found["data/analytics_ingest.duckdb"], "0o600", "permissions of the DuckDB file")
        expect(found["data"], "0o700", "permissions of its folder")
        say(f"  {len(found)} files and folders in volumes: none is for other users")

    def check_silence(self) -> None:
        """No name of another machine was asked for: neither Dagster nor dlt has sent telemetry."""
        # gRPC asks for addresses of a service beside the one that it has
        asked = sorted({name for name in self.resolver.names if name not in self.services})
        self.code_location.execute(["python", "-c", "import socket; socket.gethostbyname('telemetry.invalid')"])
        wait_for(lambda: "telemetry.invalid" in self.resolver.names, "query of a name, which shows that they are seen")
        expect(asked, [], "names that were asked for")
        say("  no connection to another machine was attempted")


def overlay_again(folder: Path) -> Path:
    """A root that was built in another namespace."""
    return overlay(BASE, folder)


def world_endpoints() -> list[tuple[str, str]]:
    """The endpoints of the sandbox."""
    from analytics_ingest.apis.registry import APIS

    return [(api.name, endpoint.name) for api in APIS.values() for endpoint in api.endpoints]


def wait_for(condition: Callable[[], bool], what: str, *, every: float = 1) -> None:
    """Waits until a condition holds."""
    until = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"failed: no {what} within {WAIT} s")
        time.sleep(every)


def expect(found: object, expected: object, what: str) -> None:
    """Ends the test unless two values are the same."""
    if found != expected:
        raise SystemExit(f"failed: {what}: {found} instead of {expected}")


if __name__ == "__main__":
    main()
