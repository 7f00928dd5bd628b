"""Who was champion when: an append-only list of changes, read without any registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import pandas as pd

from icp_ml.errors import ConfigError

PROMOTED = "promoted"
ROLLED_BACK = "rolled_back"
MOVED = "moved_by_hand"
COLUMNS = ("sequence", "at", "action", "version", "replaces", "reason")
_DTYPES = {"sequence": "int64", "at": "datetime64[us, UTC]"}


@dataclass(frozen=True, slots=True)
class Change:
    """One change of champion.

    Parameters
    ----------
    sequence
        Its number, from 1.
    at
        When, in UTC.
    action
        ``promoted``, ``rolled_back``, or ``moved_by_hand`` when somebody moved the alias past this library.
    version
        The champion from then on; None when there was none.
    replaces
        The champion until then.
    reason
        Why.
    """

    sequence: int
    at: datetime
    action: str
    version: str | None
    replaces: str | None
    reason: str

    def to_state(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {name: getattr(self, name) for name in COLUMNS} | {"at": self.at.isoformat()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Change:
        """Read what :meth:`to_state` wrote."""
        return cls(**{name: state[name] for name in COLUMNS} | {"at": datetime.fromisoformat(state["at"])})


def champion_on(changes: Iterable[Change], moment: date | datetime | str) -> str | None:
    """Return the version that was champion at a moment; on a day, the one in place when it ended (UTC).

    Parameters
    ----------
    changes
        The history, in any order.
    moment
        A day or a time; text is read as ISO 8601, a time without zone as UTC.

    Raises
    ------
    ConfigError
        The text is no day or time.

    Examples
    --------
    >>> day = datetime(2025, 3, 31, 2, 0, tzinfo=UTC)
    >>> changes = [Change(1, day, "promoted", "icp/1", None, "first model")]
    >>> champion_on(changes, "2025-03-31"), champion_on(changes, "2025-03-30")
    ('icp/1', None)
    """
    limit = _end_of(moment)
    known = [change for change in changes if change.at <= limit]
    return max(known, key=lambda change: change.sequence).version if known else None


def earlier_champion(changes: Sequence[Change]) -> str | None:
    """Return the champion to go back to: the one before the present, past those rolled back.

    Examples
    --------
    >>> day = datetime(2025, 1, 1, tzinfo=UTC)
    >>> def change(n, action, version):
    ...     return Change(n, day, action, version, None, "")
    >>> line = [change(n, "promoted", f"icp/{n}") for n in (1, 2, 3)]
    >>> earlier_champion(line)
    'icp/2'
    >>> earlier_champion([*line, change(4, "rolled_back", "icp/2")])
    'icp/1'
    """
    line: list[str] = []
    for change in sorted(changes, key=lambda change: change.sequence):
        if change.version is None:
            continue
        if change.action == ROLLED_BACK and change.version in line:
            while line[-1] != change.version:
                line.pop()
        elif not line or line[-1] != change.version:
            line.append(change.version)
    return line[-2] if len(line) > 1 else None


def history_frame(changes: Iterable[Change]) -> pd.DataFrame:
    """Return the history as a frame, oldest first: sequence, at, action, version, replaces, reason."""
    rows = sorted(changes, key=lambda change: change.sequence)
    # Object columns, as text columns would turn None (no champion) into NaN.
    return pd.DataFrame(
        {
            name: pd.Series([getattr(row, name) for row in rows], dtype=_DTYPES.get(name, "object"))
            for name in COLUMNS
        }
    )


def _end_of(moment: date | datetime | str) -> datetime:
    if isinstance(moment, str):
        try:
            moment = (
                date.fromisoformat(moment)
                if len(moment) == len("2025-03-31")
                else datetime.fromisoformat(moment)
            )
        except ValueError as error:
            raise ConfigError(
                f"expected a day such as 2025-03-31 or a time, found {moment!r}", found=moment
            ) from error
    if isinstance(moment, datetime):
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return datetime.combine(moment, time.max, tzinfo=UTC)
