"""Which process left something behind, and whether it still lives."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, as another one can recognise it.

    Parameters
    ----------
    host
        Machine and, where there are such, its process namespace.
    pid
        Process number.
    born
        When the process started, in ticks of the machine; empty where the system doesn't tell.
    at
        When it took what it owns, ISO 8601 in UTC.
    """

    host: str
    pid: int
    born: str
    at: str

    @classmethod
    def here(cls, now: datetime) -> Owner:
        """Describe the present process."""
        return cls(_host(), os.getpid(), _born(os.getpid()), now.isoformat())

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Owner | None:
        """Read what :meth:`to_text` wrote; None when it's something else."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def is_gone(self, now: datetime, longest: timedelta) -> bool:
        """Say whether the process has ended, or has had more time than anyone may need.

        On another machine only the time tells.
        """
        if now - datetime.fromisoformat(self.at) > longest:
            return True
        if self.host != _host():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return _born(self.pid) != self.born


def _host() -> str:
    space = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {space.readlink() if space.exists() else ''}".strip()


def _born(pid: int) -> str:
    """Return the start time of a process, which tells it from a later one of the same number."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, _, start = (text.rpartition(")")[2].split()[index] for index in (0, 1, 19))
    return "" if state == "Z" else start
