"""A mount namespace of one process and its children: a small or read-only disk that nobody else sees."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

_NEW_MOUNTS = 0x20000


def missing() -> str:
    """Return why there can be none here; empty when there can."""
    if os.name != "posix" or not Path("/proc/self/ns/mnt").exists():
        return "mount namespaces are Linux's"
    if os.geteuid() != 0:
        return "mounting needs root"
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            enter()
            os.write(write, b"y")
        except OSError:
            pass
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    answer = os.read(read, 1)
    os.close(read)
    return "" if answer else "the system refuses to mount here"


def enter() -> None:
    """Leave the mounts of all others: what this process mounts from now on ends with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "unshare")
    _mount("--make-rprivate", "/")


def small_disk(folder: Path, size: int) -> None:
    """Mount an empty disk of a size in bytes on a folder."""
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))


def read_only(folder: Path, *, on: bool) -> None:
    """Make a mounted disk read-only, or writable again."""
    _mount("-o", f"remount,{'ro' if on else 'rw'}", str(folder))


def fill(folder: Path, free: int) -> Path:
    """Fill a disk until only so many bytes are free; return the file to remove."""
    filler = folder / "filler"
    facts = os.statvfs(folder)
    left = facts.f_bavail * facts.f_frsize - free
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(left, 1))
    return filler


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.returncode, done.stderr.strip())
