"""Which process left something behind, and whether it still lives."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from icp_ml.scratch import born, has_ended, host

_LONGEST_TEXT = 2_000


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
        return cls(host(), os.getpid(), born(os.getpid()), now.isoformat())

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Owner | None:
        """Read what :meth:`to_text` wrote; None when it's something else, such as a tag edited by hand."""
        if len(text) > _LONGEST_TEXT:
            return None
        try:
            owner = cls(**json.loads(text))
            at = datetime.fromisoformat(owner.at)
        except (ValueError, TypeError, RecursionError):
            return None
        whole = isinstance(owner.pid, int) and not isinstance(owner.pid, bool) and owner.pid > 0
        texts = isinstance(owner.host, str) and isinstance(owner.born, str)
        return owner if whole and texts and at.tzinfo is not None else None

    def is_gone(self, now: datetime, longest: timedelta) -> bool:
        """Say whether the process has ended, or has had more time than anyone may need.

        On another machine only the time tells.
        """
        if now - datetime.fromisoformat(self.at) > longest:
            return True
        return self.host == host() and has_ended(self.pid, self.born)
