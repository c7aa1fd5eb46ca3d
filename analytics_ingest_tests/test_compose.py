"""The deployment of compose.yaml and Dockerfile: who has which secret, and what a container can do and reach."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from analytics_ingest_tests.conftest import ROOT
from analytics_ingest_tests.stores import postgres_database
from analytics_ingest_tests.tools.image.compose_file import read_services
from analytics_ingest_tests.tools.image.dockerfile import DockerfileError, ImageConfig, context_files, parse

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = read_services(ROOT, {}, ["celery"])
SYNCING = {"code_location", "worker"}
OWN = {"code_location", "webserver", "daemon", "worker"}
"""The services that run the image of the Dockerfile."""


def image() -> ImageConfig:
    """The configuration that the Dockerfile leaves."""
    config = ImageConfig()
    for each in parse((ROOT / "Dockerfile").read_text()):
        config.apply(each)
    return config


# secrets


def test_each_service_holds_the_secrets_that_it_needs() -> None:
    syncing = {"dagster_postgres_url", "warehouse_password", "celery_broker"}

    assert {name: set(each["secrets"]) for name, each in SERVICES.items()} == {
        "postgres": {"postgres_password", "dagster_password", "warehouse_password"},
        "code_location": syncing,
        "worker": syncing,
        "webserver": {"dagster_postgres_url"},
        "daemon": {"dagster_postgres_url"},
        "rabbitmq": {"rabbitmq_password"},
    }
    assert COMPOSE["secrets"].keys() == {name for each in SERVICES.values() for name in each["secrets"]}
    with_keys = {
        name
        for name, each in SERVICES.items()
        if any(isinstance(volume, dict) and volume["target"] == "/run/api_keys" for volume in each.get("volumes", []))
    }
    assert with_keys == SYNCING
    # the file can have keys too
    assert {name for name, each in SERVICES.items() if "env_file" in each} == SYNCING


def test_no_secret_is_in_the_configuration_of_a_container() -> None:
    text = (ROOT / "compose.yaml").read_text()
    # with a default: of no password
    assert set(re.findall(r"\$\{(\w+)", text)) == {"ANALYTICS_INGEST_AUTOMATION", "ANALYTICS_INGEST_DESTINATION"}
    for name, service in SERVICES.items():
        for variable, value in service["environment"].items():
            if re.search(r"PASSWORD|CREDENTIALS$|BROKER|URL|KEY", variable):
                assert value == "" or (variable.endswith("_FILE") and value.startswith("/run/secrets/")), name


def test_syncing_services_are_not_given_passwords_that_are_in_the_file_of_settings() -> None:
    for name in SYNCING:
        environment = SERVICES[name]["environment"]
        for password in ("POSTGRES_PASSWORD", "DAGSTER_PASSWORD", "WAREHOUSE_PASSWORD", "RABBITMQ_PASSWORD"):
            assert environment[password] == ""


@pytest.fixture
def compose_folder(tmp_path: Path) -> Path:
    """A folder with the script that creates the secrets."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "secrets.sh", tmp_path / "deploy")
    return tmp_path


def create_secrets(compose_folder: Path) -> subprocess.CompletedProcess[str]:
    script = ["sh", str(compose_folder / "deploy" / "secrets.sh")]
    return subprocess.run(script, cwd="/", check=False, capture_output=True, text=True)


def secrets(compose_folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (compose_folder / "secrets").iterdir() if path.is_file()}


def test_the_secrets_that_compose_mounts_are_created_once(compose_folder: Path) -> None:
    assert create_secrets(compose_folder).returncode == 0
    created = secrets(compose_folder)
    assert set(created) == {Path(each["file"]).name for each in COMPOSE["secrets"].values()}
    assert {len(value.strip()) for name, value in created.items() if name.endswith("_password")} == {48}
    assert len(set(created.values())) == len(created)
    assert created["dagster_postgres_url"].strip() == (
        f"postgresql+psycopg2://dagster:{created['dagster_password'].strip()}@postgres:5432/dagster"
    )
    assert created["celery_broker"].strip() == f"amqp://ingest:{created['rabbitmq_password'].strip()}@rabbitmq:5672//"

    key = compose_folder / "secrets" / "api_keys" / "feature_management"
    key.write_text("s3cr3t")
    key.chmod(0o600)
    ended = create_secrets(compose_folder)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert secrets(compose_folder) == created
    # other users of this machine cannot enter the folder, those of the containers get files that they can read
    modes = {
        str(path.relative_to(compose_folder)): stat.S_IMODE(path.stat().st_mode)
        for path in [compose_folder / "secrets", *(compose_folder / "secrets").rglob("*")]
    }
    assert modes.pop("secrets") == 0o700
    assert modes.pop("secrets/api_keys") == 0o755
    assert set(modes.values()) == {0o644}


def test_passwords_of_a_former_installation_are_taken_over(compose_folder: Path) -> None:
    (compose_folder / ".env").write_text(
        "POSTGRES_PASSWORD=superuser     # the superuser's\n"
        "DAGSTER_PASSWORD='dag-ster'\n"
        'export WAREHOUSE_PASSWORD="ware house"\n'
        "SOURCES__FEATURE_MANAGEMENT__API_KEY=...\n"
    )
    ended = create_secrets(compose_folder)
    found = {name: value.strip() for name, value in secrets(compose_folder).items()}

    assert ended.returncode == 0, ended.stderr
    assert [found[f"{name}_password"] for name in ("postgres", "dagster", "warehouse")] == [
        "superuser",
        "dag-ster",
        "ware house",
    ]
    assert found["dagster_postgres_url"] == "postgresql+psycopg2://dagster:dag-ster@postgres:5432/dagster"
    assert len(found["rabbitmq_password"]) == 48


def test_a_password_that_a_url_cannot_have_is_left_to_the_user(compose_folder: Path) -> None:
    (compose_folder / ".env").write_text("DAGSTER_PASSWORD=p@ss/word\n")
    ended = create_secrets(compose_folder)

    assert ended.returncode == 1
    assert "write secrets/dagster_postgres_url yourself, percent-encoded" in ended.stderr
    assert "p@ss" not in ended.stdout + ended.stderr


@pytest.mark.extended
def test_roles_get_a_database_each(compose_folder: Path) -> None:
    script = (ROOT / "deploy" / "roles.sql").read_text()
    psql = shutil.which("psql")
    if not psql:
        pytest.skip("no psql")
    (compose_folder / "dagster_password").write_text("it's one\n")
    (compose_folder / "warehouse_password").write_text('an"other\n')
    with postgres_database() as (credentials, connect):
        name = credentials.rpartition("/")[2]
        suffixed = re.sub(r"\b(dagster|warehouse)\b(?!_)", rf"\1_{name[-6:]}", script)
        suffixed = suffixed.replace("/run/secrets/", f"{compose_folder}/")
        found = connect().cursor()
        try:
            subprocess.run([psql, "--set", "ON_ERROR_STOP=1", credentials], input=suffixed, text=True, check=True)
            found.execute(
                "SELECT datname, pg_get_userbyid(datdba), has_database_privilege(%s, datname, 'CONNECT') "
                "FROM pg_database WHERE datname LIKE %s ORDER BY 1",
                [f"dagster_{name[-6:]}", f"%\\_{name[-6:]}"],
            )
            rows = [row for row in found.fetchall() if row[0] != name]
            assert [row[0] == row[1] for row in rows] == [True, True]
            assert [row[2] for row in rows] == [True, False]
            found.execute(
                "SELECT count(*) FROM pg_authid WHERE rolname LIKE %s AND rolpassword IS NOT NULL", rows[0][:1]
            )
            assert found.fetchone() == (1,)
        finally:
            for each in ("dagster", "warehouse"):
                found.execute(f"DROP DATABASE IF EXISTS {each}_{name[-6:]}")
                found.execute(f"DROP ROLE IF EXISTS {each}_{name[-6:]}")


@pytest.mark.parametrize(
    ("password", "code", "output"), [("s3cr3t\n", 0, "rabbitmq-server s3cr3t\n"), ("", 1, ""), (None, 1, "")]
)
def test_rabbitmq_does_not_start_without_its_password(
    tmp_path: Path, password: str | None, code: int, output: str
) -> None:
    if password is not None:
        (tmp_path / "rabbitmq_password").write_text(password)
    started = tmp_path / "docker-entrypoint.sh"
    started.write_text('#!/bin/sh\necho "$1 $RABBITMQ_DEFAULT_PASS"\n')
    started.chmod(0o755)
    shell, option, script = SERVICES["rabbitmq"]["command"]
    ended = subprocess.run(
        [shell, option, script.replace("/run/secrets/", f"{tmp_path}/")],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (code, output)


# what a container can do, and reach


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_privileges_and_has_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert re.fullmatch(r"\d+g", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}
    assert service["tmpfs"][0].startswith("/tmp:")  # noqa: S108
    user = image().user if name in OWN else service["user"]
    assert user not in ("root", "0")
    # a read-only root takes files of this machine alone, no content of compose.yaml
    assert "configs" not in service
    assert all("file" in each for each in COMPOSE["secrets"].values())


def test_services_reach_what_they_need() -> None:
    assert {name: set(each["networks"]) for name, each in SERVICES.items()} == {
        "postgres": {"storage"},
        "rabbitmq": {"broker"},
        "code_location": {"storage", "code", "broker", "outside"},
        "worker": {"storage", "broker", "outside"},
        "webserver": {"storage", "code", "ui"},
        "daemon": {"storage", "code"},
    }
    internal = {name for name, each in COMPOSE["networks"].items() if each.get("internal")}
    assert internal == {"storage", "code", "broker"}
    ports = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}
    assert ports == {"webserver": ["127.0.0.1:3000:3000"]}


def test_images_have_exact_versions() -> None:
    images = {name: each["image"] for name, each in SERVICES.items() if name not in OWN}
    assert images.keys() == {"postgres", "rabbitmq"}
    for each in (*images.values(), image().base):
        assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z-]+)?$", each), each


@pytest.mark.skipif(not shutil.which("docker"), reason="no Docker client")
def test_docker_compose_accepts_the_file(compose_folder: Path) -> None:
    if subprocess.run(["docker", "compose", "version"], check=False, capture_output=True).returncode:
        pytest.skip("no docker compose")
    shutil.copy(ROOT / "compose.yaml", compose_folder)
    create_secrets(compose_folder)
    config = ["docker", "compose", "--profile", "celery", "config", "--quiet"]
    ended = subprocess.run(config, cwd=compose_folder, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


# the image


def test_the_image_runs_the_code_location_as_a_user_without_rights() -> None:
    config = image()
    assert config.user == "ingest"
    assert config.entrypoint == ["python", "-m", "analytics_ingest.entrypoint"]
    assert config.command[:3] == ["dagster", "api", "grpc"]
    assert config.healthcheck == ["dagster", "api", "grpc-health-check", "--port", "4000"]
    assert config.ports == [4000]
    assert {"DAGSTER_HOME", "DLT_DATA_DIR", "DAGSTER_COMPUTE_LOGS"} <= config.environment.keys()


def test_the_build_context_has_the_package_and_no_secret() -> None:
    found = {str(path) for path in context_files(ROOT)}
    assert {path.split("/")[0] for path in found} == {
        "README.md",
        "analytics_ingest",
        "constraints.txt",
        "dagster.production.yaml",
        "pyproject.toml",
        "workspace.production.yaml",
    }
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "analytics_ingest").rglob("*.py")}
    assert package <= found


def test_secrets_data_and_history_are_not_in_the_build_context(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    left_out = (
        ".env",
        ".git/config",
        ".dlt/secrets.toml",
        "secrets/api_keys/feature_management",
        "data/analytics_ingest.duckdb",
        "analytics_ingest/.env",
        "analytics_ingest/.dlt/secrets.toml",
        "analytics_ingest/cli/__pycache__/app.pyc",
    )
    for name in (*left_out, "analytics_ingest/cli/app.py", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path) for path in context_files(tmp_path)] == ["analytics_ingest/cli/app.py", "pyproject.toml"]


@pytest.mark.parametrize(
    "line", ["ADD x /", "RUN --mount=type=secret,id=x cat x", "COPY --from=other /x /", "RUN <<EOF", "ONBUILD RUN x"]
)
def test_an_instruction_that_is_not_understood_is_refused(line: str) -> None:
    with pytest.raises(DockerfileError, match=r"line 2: .* is not understood"):
        parse(f"FROM x\n{line}\n")


def test_instructions_are_read_as_docker_reads_them() -> None:
    config = ImageConfig()
    text = 'FROM x:1\nENV A=1 \\\n  # why\n  B="two words" C=$A\nWORKDIR /app\nWORKDIR sub\nUSER y\nCMD run ${A}\n'
    instructions = parse(text)
    for each in instructions:
        config.apply(each)
    assert [each.line for each in instructions] == [1, 2, 5, 6, 7, 8]
    assert config.environment == {"A": "1", "B": "two words", "C": ""}
    assert (config.base, config.folder, config.user) == ("x:1", "/app/sub", "y")
    assert config.command == ["/bin/sh", "-c", "run ${A}"]
