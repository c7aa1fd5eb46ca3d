"""Runs services of ``compose.yaml`` in roots of their own, as Docker would: user, mounts, secrets, no privileges.

All share the network of this process, in which each service's name is 127.0.0.1.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from analytics_ingest_tests.tools.image.dockerfile import ImageConfig, words
from analytics_ingest_tests.tools.image.roots import user_of

DEVICES = ("null", "zero", "full", "random", "urandom")
TMPFS_DEFAULTS = "nosuid,nodev,noexec"
"""Docker's."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """What the services share.

    Attributes:
        folder: The folder of ``compose.yaml``, of the secrets and of ``.env``.
        state: A folder for volumes and logs.
        env_file: The variables of ``.env``.
    """

    folder: Path
    state: Path
    env_file: Mapping[str, str]

    def volume(self, name: str, root: Path, target: str) -> Path:
        """The folder of a volume; a new one has what the image has in its place, with its owner and permissions."""
        path = self.state / "volumes" / name
        if not path.exists():
            path.mkdir(parents=True)
            inside = root / target.lstrip("/")
            if inside.is_dir():
                subprocess.run(["cp", "--archive", f"{inside}/.", str(path)], check=True)
                found = inside.stat()
                os.chown(path, found.st_uid, found.st_gid)
                path.chmod(found.st_mode & 0o7777)
        return path


class Container:
    """A service, or another command with the configuration of a service."""

    def __init__(
        self,
        project: Project,
        name: str,
        service: Mapping[str, Any],
        image: ImageConfig,
        root: Path,
        *,
        command: Sequence[str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Prepares it.

        Args:
            project: What the services share.
            name: Its name, which is unique.
            service: The service in ``compose.yaml``.
            image: The configuration of its image.
            root: The root of its image.
            command: Another command than the service's.
            variables: Variables beside the service's.
        """
        self.name = name
        self.log = project.state / f"{name}.log"
        self._project = project
        self._service = service
        self._root = root
        given = service.get("command", image.command)
        self._command = [*image.entrypoint, *(command or (shlex.split(given) if isinstance(given, str) else given))]
        env_file = project.env_file if "env_file" in service else {}
        environment = {**image.environment, **env_file, **service.get("environment", {}), **(variables or {})}
        self.config = replace(image, environment={key: str(each) for key, each in environment.items()})
        self.config.user = service.get("user", image.user)
        self._process: subprocess.Popen[str] | None = None
        self._file: TextIO | None = None

    def start(self) -> Container:
        """Starts it, and returns at once."""
        self._file = self.log.open("w")
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "/bin/sh", "-ec", self._script()],
            stdout=self._file,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def wait(self, timeout: float) -> int:
        """Waits for its end, and gives its exit code."""
        if self._process is None:
            raise RuntimeError("it was not started")
        return self._process.wait(timeout)

    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Kills it with all that it has started."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
        if self._file is not None:
            self._file.close()

    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def execute(self, command: Sequence[str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Executes a command in it while it runs, as ``docker exec`` does."""
        if self._process is None:
            raise RuntimeError("it was not started")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            return subprocess.CompletedProcess(command, 1, "", f"{self.name} does not run")
        inside = [
            "nsenter",
            "--target",
            children[0],
            "--mount",
            "--pid",
            "--uts",
            "--root",
            f"--wdns={self.config.folder}",
        ]
        return subprocess.run(
            [*inside, *self._as_user(), *command], check=False, capture_output=True, text=True, timeout=timeout
        )

    def is_healthy(self) -> bool:
        """Whether its health check succeeds.

        Raises:
            RuntimeError: It has ended.
        """
        if not self.is_running():
            raise RuntimeError(f"{self.name} has ended")
        return self.health().returncode == 0

    def health(self) -> subprocess.CompletedProcess[str]:
        """Executes its health check."""
        test = self._service.get("healthcheck", {}).get("test", self.config.healthcheck)
        kind, *rest = test if test[0] in ("CMD", "CMD-SHELL") else ("CMD", *test)
        return self.execute(words(rest[0]) if kind == "CMD-SHELL" else rest)

    def _as_user(self) -> list[str]:
        """The user without privileges and without a way to get some, and the variables."""
        uid, gid, home = user_of(self._root, self.config.user)
        hardened = self._service.get("cap_drop") == ["ALL"]
        alone = ["--bounding-set=-all", "--inh-caps=-all"] if hardened else []
        if "no-new-privileges:true" in self._service.get("security_opt", []):
            alone.append("--no-new-privs")
        environment = {**self.config.environment, "HOSTNAME": self.name, "HOME": home}
        variables = [f"{key}={value}" for key, value in environment.items()]
        return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *alone, "env", "-i", *variables]

    def _script(self) -> str:
        """Mounts everything at the root in a namespace of its own, and becomes the command."""
        state = self._project.state / "containers" / self.name
        root = state / "root"
        root.mkdir(parents=True, exist_ok=True)
        hosts = state / "hosts"
        names = ["localhost", "postgres", "code_location", "webserver", "daemon", "rabbitmq", self.name]
        hosts.write_text(f"127.0.0.1 {' '.join(names)}\n")
        resolver = state / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        mounts = [(str(hosts), "/etc/hosts", "ro"), (str(resolver), "/etc/resolv.conf", "ro"), *self._binds()]
        changed = state / "changed"
        overlay = ",".join(f"{key}={changed / key}" for key in ("upperdir", "workdir"))
        lines = [
            f"hostname {self.name.replace('_', '-')}",
            *(f"mkdir -p {changed / key}" for key in ("upperdir", "workdir")),
            # what the container changes is its own, if it can write at all
            f"mount -t overlay overlay -o lowerdir={self._root},{overlay} {root}",
        ]
        mounts = [(source, self._resolved(target), mode) for source, target, mode in mounts]
        memory = [(self._resolved(target), options) for target, _, options in map(_parts, self._service["tmpfs"])]
        for source, target, _ in mounts:
            kind = "mkdir -p" if Path(source).is_dir() else "touch"
            lines += [f"mkdir -p {root}{Path(target).parent}", f"{kind} {root}{target}"]
        lines += [f"mkdir -p {root}{target}" for target, _ in memory]
        if self._service.get("read_only"):
            lines.append(f"mount -o remount,bind,ro {root} 2>/dev/null || mount -o remount,ro {root}")
        lines += [f"mount -t proc proc {root}/proc", f"mount -t tmpfs -o mode=755,nosuid tmpfs {root}/dev"]
        for device in DEVICES:
            lines += [f"touch {root}/dev/{device}", f"mount --bind /dev/{device} {root}/dev/{device}"]
        lines += [
            f"mkdir {root}/dev/shm && mount -t tmpfs -o {TMPFS_DEFAULTS},size=64m tmpfs {root}/dev/shm",  # noqa: S108
            f"ln -s /proc/self/fd {root}/dev/fd",
        ]
        lines += [f"mount -t tmpfs -o {TMPFS_DEFAULTS},{options} tmpfs {root}{target}" for target, options in memory]
        for source, target, mode in mounts:
            lines.append(f"mount --bind {source} {root}{target}")
            if mode == "ro":
                lines.append(f"mount -o remount,bind,ro {root}{target}")
        command = shlex.join([*self._as_user(), *self._command])
        inner = shlex.quote(f"cd {self.config.folder} && exec {command}")
        lines.append(f"exec chroot {root} /bin/sh -c {inner}")
        return "\n".join(lines)

    def _resolved(self, target: str) -> str:
        """A path in the root without links, which would lead out of it."""
        path = Path("/")
        for part in Path(target).parts[1:]:
            inside = self._root / str(path / part).lstrip("/")
            path = path / part if not inside.is_symlink() else path / inside.readlink()
        return os.path.normpath(path)

    def _binds(self) -> list[tuple[str, str, str]]:
        """Source, target and mode of the volumes and the secrets."""
        project = self._project
        found = []
        for each in self._service.get("volumes", []):
            if isinstance(each, dict):
                source, target, mode = each["source"], each["target"], "ro" if each.get("read_only") else "rw"
            elif each.startswith("/"):
                source, target, mode = "", each, "rw"
            else:
                source, target, *rest = each.split(":")
                mode = rest[0] if rest else "rw"
            if source.startswith("."):
                path = project.folder / source
                if not path.exists():
                    raise FileNotFoundError(f"{self.name}: {path} does not exist")
            else:
                path = project.volume(source or f"{self.name}{target.replace('/', '-')}", self._root, target)
            found.append((str(path), target, mode))
        # Docker mounts the file with the owner and the permissions that it has
        secrets = [(project.folder / "secrets" / name, f"/run/secrets/{name}") for name in self._service["secrets"]]
        return found + [(str(source), target, "ro") for source, target in secrets]


def _parts(tmpfs: str) -> tuple[str, str, str]:
    """The folder of a file system in memory, and its options after a colon."""
    return tmpfs.partition(":")
