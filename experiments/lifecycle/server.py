"""A real MLflow server for as long as a block runs: HTTP, basic auth, PostgreSQL behind it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ADMIN = "admin"
JOB = "scheduler"
READER = "reader"
PASSWORD = "not-a-secret-only-here"
_PROGRAMS = ("initdb", "postgres", "createdb")


@dataclass(frozen=True)
class Server:
    """Where it listens; ``said`` is what it wrote."""

    address: str
    database: str
    said: Path

    def credentials(self, user: str = JOB) -> dict[str, str]:
        """Return the environment variables by which MLflow's client names a user."""
        return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": PASSWORD}


def lacks() -> str:
    """Return what's missing on this machine for such a server; empty when nothing is."""
    if _postgres_bin() is None:
        return "PostgreSQL isn't installed (apt-get install postgresql)"
    needed = {"psycopg2": "psycopg2-binary", "flask_wtf": "mlflow[auth]"}
    missing = [package for module, package in needed.items() if find_spec(module) is None]
    return f"missing: {', '.join(missing)} (pip install -e '.[dev]')" if missing else ""


@contextmanager
def mlflow_server(workers: int = 2) -> Iterator[Server]:
    """Start PostgreSQL and MLflow with basic auth, make two users, and end both afterwards."""
    with tempfile.TemporaryDirectory(prefix="icp-server-") as name, postgres() as database:
        folder = Path(name)
        environment = {**os.environ, **_settings(folder, database)}
        server = Server(f"http://127.0.0.1:{free_port()}", database, folder / "server.txt")
        command = _command(folder, database, server.address, workers)
        with started(command, server.said, cwd=folder, env=environment) as process:
            wait_for(f"{server.address}/health", process, server.said)
            _make_users(server)
            yield server


@contextmanager
def started(
    command: Sequence[object], said: Path, *, ended_by: int = signal.SIGTERM, **given: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that writes into a file, and end it with its children when the block ends."""
    with said.open("wb") as file:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **given,
        )
    try:
        yield process
    finally:
        end_group(process, ended_by)


def _command(folder: Path, database: str, address: str, workers: int) -> list[str]:
    program = [str(Path(sys.executable).parent / "mlflow"), "server", "--app-name", "basic-auth"]
    program += ["--backend-store-uri", f"{database}/mlflow", "--host", "127.0.0.1"]
    program += ["--port", address.rpartition(":")[2], "--workers", str(workers)]
    return [*program, "--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]


def _settings(folder: Path, database: str) -> dict[str, str]:
    """Write the server's user settings and return its environment."""
    config = folder / "basic_auth.ini"
    lines = ["[mlflow]", "default_permission = READ", f"database_uri = {database}/auth"]
    lines += [f"admin_username = {ADMIN}", f"admin_password = {PASSWORD}"]
    lines += ["authorization_function = mlflow.server.auth:authenticate_request_basic_auth"]
    lines += ["auth_cache_ttl_seconds = 3600"]  # else every call pays for a password's hash, 80 ms of CPU
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": PASSWORD,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def _make_users(server: Server) -> None:
    """Make the users in a process of its own: the caller may want to fork, and so must open no store."""
    code = "import sys; from mlflow.server import get_app_client as client\n"
    code += "app = client('basic-auth', tracking_uri=sys.argv[1])\n"
    code += "[app.create_user(name, sys.argv[2]) for name in sys.argv[3:]]"
    command = [sys.executable, "-W", "ignore", "-c", code, server.address, PASSWORD, JOB, READER]
    environment = {**os.environ, **server.credentials(ADMIN)}
    subprocess.run(command, env=environment, check=True, timeout=120)


@contextmanager
def postgres() -> Iterator[str]:
    """Run PostgreSQL on a socket in a folder of its own; the block gets the address without a database."""
    programs = _postgres_bin()
    if programs is None:
        raise SystemExit(lacks())
    user = _plain_user()
    folder = Path(tempfile.mkdtemp(prefix="icp-pg-"))
    said = folder.with_suffix(".txt")
    if user is not None:
        shutil.chown(folder, user)
    port = str(free_port())
    try:
        _as(user, [programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-N"])
        command = [programs / "postgres", "-D", folder / "data", "-p", port, "-F"]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
        with started(command, said, ended_by=signal.SIGINT, user=user, cwd=folder):
            for name in ("mlflow", "auth"):
                _make_database(user, programs, folder, port, name)
            yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        said.unlink(missing_ok=True)


def _make_database(user: str | None, programs: Path, folder: Path, port: str, name: str) -> None:
    end = time.monotonic() + 60.0
    command = [programs / "createdb", "-h", folder, "-p", port, "-U", "postgres", name]
    while True:
        try:
            return _as(user, command)
        except subprocess.CalledProcessError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def _as(user: str | None, command: Sequence[object]) -> None:
    subprocess.run(
        [str(part) for part in command], user=user, cwd="/", check=True, capture_output=True, timeout=120
    )


def _plain_user() -> str | None:
    """Return whom PostgreSQL must run as: it refuses root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def _postgres_bin() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest where there are several."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    debian = Path("/usr/lib/postgresql")
    places += sorted(debian.glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    return next((path for path in places if all((path / name).exists() for name in _PROGRAMS)), None)


def free_port() -> int:
    """Return a port on this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(address: str, process: subprocess.Popen[bytes], said: Path, seconds: float = 240.0) -> None:
    """Wait until an address answers; end with what the process said when it doesn't."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except urllib.error.HTTPError as error:
            if error.code == 401:
                return
        except OSError:
            pass
        time.sleep(0.3)
    raise SystemExit(f"no answer at {address}: {said.read_text(encoding='utf-8')[-2000:]}")


def end_group(process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> None:
    """End a process with its children; they share a session of their own."""
    for signal_sent in (how, signal.SIGKILL):
        try:
            os.killpg(process.pid, signal_sent)
            process.wait(30)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
