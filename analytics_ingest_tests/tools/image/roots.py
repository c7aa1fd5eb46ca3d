"""Builds the root folders of containers with debootstrap: that of the image by its Dockerfile, and PostgreSQL's.

Called within namespaces of its own (``__main__``), so that every mount goes with them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from analytics_ingest_tests.tools.image.dockerfile import ImageConfig, context_files, parse, words

SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
PYTHON = "/usr/local/python"
"""The environment that stands in for the Python of the base image: in it ``python`` and ``pip`` are on the path."""
PATH = f"{PYTHON}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MACHINE = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs", "/usr/local/share/ca-certificates")
"""What a step needs to reach the network as this machine does."""
POSTGRES = """
groupadd --system --gid 999 postgres
useradd --system --uid 999 --gid postgres --home-dir /var/lib/postgresql --shell /bin/bash postgres
apt-get update -qq
apt-get install -qq --yes --no-install-recommends postgresql-common >/dev/null
sed -i 's/#create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
apt-get install -qq --yes --no-install-recommends postgresql >/dev/null
install --directory --owner postgres --group postgres --mode 0700 /var/lib/postgresql/data
ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/ 2>/dev/null || true
apt-get clean
"""
"""What stands in for the image of PostgreSQL: Debian's, with the user of that image."""


def make_base(base: Path) -> None:
    """Makes a Debian root, unless it is there already."""
    ready = base.with_name(f"{base.name}.ready")
    if ready.exists():
        return
    shutil.rmtree(base, ignore_errors=True)
    base.parent.mkdir(parents=True, exist_ok=True)
    run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(base), *debian_mirror())
    ready.touch()


def debian_mirror() -> list[str]:
    """The mirror that this machine's own apt uses; without one debootstrap takes its own."""
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    text = "\n".join(each.read_text() for each in sources if each.suffix in (".list", ".sources") and each.exists())
    found = re.search(r"^URIs:\s*(\S+/debian/?)\s*$|^deb\s(?:\[.*?\]\s)?(\S+/debian/?)\s", text, re.MULTILINE)
    return [found[1] or found[2]] if found else []


def overlay(base: Path, folder: Path) -> Path:
    """A root that begins as another one; what changes is in a folder of its own, also after the mount is gone."""
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={base},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    run("mount", "-t", "overlay", "overlay", "-o", options, str(folder / "root"))
    return folder / "root"


def build_image(project: Path, root: Path) -> ImageConfig:
    """Executes the steps of the Dockerfile in a root.

    Args:
        project: The folder of the Dockerfile, which is the context.
        root: A Debian root, in which it becomes the image.
    """
    pip, paths = pip_settings()
    step(root, "/usr/bin/python3 -m venv /usr/local/python", {"PATH": PATH}, paths)
    config = ImageConfig(environment={"PATH": PATH})
    context = context_files(project)
    for each in parse((project / "Dockerfile").read_text()):
        config.apply(each)
        inside = root / config.folder.lstrip("/")
        match each.name:
            case "WORKDIR":
                inside.mkdir(parents=True, exist_ok=True)
            case "RUN":
                say(f"  {each.rest[:110]}")
                environment = {**pip, **config.environment}
                step(root, words(each.rest)[-1], environment, paths, user=config.user, folder=config.folder)
            case "COPY":
                copy(project, context, each.rest, root, config)
    return config


def copy(project: Path, context: Sequence[Path], rest: str, root: Path, config: ImageConfig) -> None:
    """Copies files of the context into a root, with the owner root.

    Raises:
        FileNotFoundError: The context does not have one of them.
    """
    *sources, target = [word for word in rest.split() if not word.startswith("--")]
    place = root / (Path(config.folder) / target).as_posix().lstrip("/")
    for source in map(Path, sources):
        matching = [path for path in context if source in (path, *path.parents)]
        if not matching:
            raise FileNotFoundError(f"COPY {source}: .dockerignore leaves nothing of it in the context")
        for path in matching:
            # of a folder its content is copied
            several = target.endswith("/") or len(sources) > 1
            to = place / path.relative_to(source) if path != source else place / path.name if several else place
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(project / path, to)
            to.chmod(0o644)


def build_postgres(root: Path) -> None:
    """Installs PostgreSQL in a root."""
    apt = [path for path in ("/etc/apt", "/etc/ssl") if Path(path).exists()]
    environment = {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive"}
    step(root, POSTGRES, environment, [*apt, "/usr/share/keyrings"])


def step(
    root: Path,
    script: str,
    environment: dict[str, str],
    paths: Sequence[str],
    *,
    user: str = "root",
    folder: str = "/",
) -> None:
    """Executes a script in a root, which sees some files of this machine meanwhile.

    Args:
        root: The root.
        script: Lines for the shell.
        environment: Its variables.
        paths: Files and folders of this machine.
        user: The user.
        folder: The working folder.
    """
    mounts = []
    for path in dict.fromkeys([*MACHINE, *paths, "/dev", "/proc"]):
        if Path(path).exists():
            inside = root / path.lstrip("/")
            inside.parent.mkdir(parents=True, exist_ok=True)
            if Path(path).is_dir():
                inside.mkdir(exist_ok=True)
            else:
                inside.touch(exist_ok=True)
            run("mount", "--bind", path, str(inside))
            mounts.append(inside)
    try:
        command = ["chroot", f"--userspec={user}:", str(root), "/bin/sh", "-ec", f"cd {folder}\n{script}"]
        if user == "root":
            command.pop(1)
        # as Docker sets it
        variables = {"HOME": user_of(root, user)[2], **environment}
        ended = subprocess.run(command, env=variables, check=False, capture_output=True, text=True)
        if ended.returncode:
            sys.stderr.write(f"{ended.stdout[-3000:]}{ended.stderr[-5000:]}")
            raise SystemExit(f"a step of the build failed: {script.strip()}")
    finally:
        for inside in reversed(mounts):
            run("umount", str(inside))


def user_of(root: Path, user: str) -> tuple[str, str, str]:
    """The numbers of a user and of its group, and its home.

    Raises:
        ValueError: The root has no such user.
    """
    for line in (root / "etc/passwd").read_text().splitlines():
        name, _, uid, gid, _, home, _ = line.split(":")
        if user in (name, uid):
            return uid, gid, home
    raise ValueError(f"the image has no user {user}")


def pip_settings() -> tuple[dict[str, str], list[str]]:
    """This machine's own settings of pip as variables, and the files and folders that they name.

    Without ``constraint``: the Dockerfile's is the one that counts.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    variables, paths = {}, []
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        key, text = name.rpartition(".")[2], value.strip("'\"")
        if key == "constraint":
            continue
        variables[f"PIP_{key.replace('-', '_').upper()}"] = text
        named = [each.removeprefix("file://") for each in text.split() if each.startswith(("/", "file:///"))]
        # an index in a folder has links to files beside itself
        paths += [each.removesuffix("/simple") for each in named]
    return variables, [path for path in paths if os.path.exists(path)]  # noqa: PTH110


def run(*command: str) -> None:
    """Executes a command; its output is shown if it fails."""
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {ended.stdout[-2000:]}{ended.stderr[-2000:]}")


def save(config: ImageConfig, file: Path) -> None:
    """Writes the configuration of an image."""
    file.write_text(json.dumps(vars(config)))


def load(file: Path) -> ImageConfig:
    """Reads the configuration of an image."""
    return ImageConfig(**json.loads(file.read_text()))


def say(text: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
