"""Temporary folders that name their process, so that those of killed jobs are found and swept."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = re.compile(r"icp_ml-(?P<host>[0-9a-f]{8})-(?P<pid>\d{1,10})-(?P<born>\d{0,20})-\w{1,20}")
#: A folder of another machine or container, of whose processes we know nothing, is swept after so long.
_FOREIGN_SECONDS = 7 * 24 * 3600.0


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a temporary folder for the time of the block; sweep those that killed jobs left.

    A folder is swept only when its name is one of ours, it belongs to this user and the process in its name
    has ended.
    """
    sweep()
    prefix = f"icp_ml-{_host_mark()}-{os.getpid()}-{born(os.getpid())}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def sweep() -> int:
    """Remove the folders of processes that have ended; return how many."""
    swept = 0
    try:
        found = [path for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith("icp_ml-")]
    except OSError:
        return 0
    for path in found:
        if _is_left(path):
            shutil.rmtree(path, ignore_errors=True)
            swept += 1
    return swept


def _is_left(path: Path) -> bool:
    named = _NAME.fullmatch(path.name)
    if named is None or path.is_symlink() or not path.is_dir():
        return False
    try:
        status = path.stat()
    except OSError:
        return False
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return False
    if named["host"] != _host_mark():
        return time.time() - status.st_mtime > _FOREIGN_SECONDS
    return has_ended(int(named["pid"]), named["born"])


def has_ended(pid: int, born_then: str) -> bool:
    """Say whether a process of this machine has ended, also when its number was given to another."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return born(pid) != born_then


def host() -> str:
    """Return the machine and, where there are such, its process namespace."""
    space = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {space.readlink() if space.exists() else ''}".strip()


def born(pid: int) -> str:
    """Return the start time of a process, which tells it from a later one of the same number."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, _, start = (text.rpartition(")")[2].split()[index] for index in (0, 1, 19))
    return "" if state == "Z" else start


def _host_mark() -> str:
    return hashlib.sha256(host().encode()).hexdigest()[:8]
