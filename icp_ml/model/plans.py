"""How one feature becomes encoded columns: which levels or tools have a flag, and what was learnt of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icp_ml.foreign import Given
from icp_ml.model.arrays import check_shape
from icp_ml.model.columns import Categories, Floats, Tools
from icp_ml.model.contributions import by_kernel

MOST_LEVELS, MOST_TOOLS = 1_000, 10_000
"""Most flags of a stored plan; see ``encoding`` for how many are made."""


@dataclass(frozen=True, slots=True)
class Part:
    """One encoded column.

    Parameters
    ----------
    feature
        Name of the source feature.
    role
        ``value``, ``level``, ``other``, ``missing``, ``rank`` (number of a step, NaN = unknown), ``rate``
        (target statistic, log-odds), ``tool``, ``rare`` (number of tools without a flag), ``count`` (number
        of tools) or ``empty``.
    value
        The level or tool; empty for the other roles.
    direction
        1 or -1 where log-odds must not fall or rise as the value rises, see :class:`Feature`.
    """

    feature: str
    role: str
    value: str = ""
    direction: int = 0

    @property
    def name(self) -> str:
        """Name of the encoded column."""
        if self.role == "value":
            return self.feature
        if self.role == "level":
            return f"{self.feature}={self.value}"
        if self.role == "tool":
            return f"{self.feature}:{self.value}"
        return f"{self.feature} ({self.role})"


@dataclass(frozen=True, slots=True)
class CategoryPlan:
    """A category: a flag per frequent level, and what was learnt of all of them.

    Parameters
    ----------
    levels
        Levels with a flag.
    other, missing
        Whether there is a flag for all other levels, and for unknown values.
    rates, missing_rate, base
        Target statistic (log-odds) per level if there is one, of unknown values, and of levels never seen.
    known
        Levels that training saw in five accounts at least; others are as if never seen.
    ranks
        Number of the step of each level, if they are steps of a known order.
    """

    levels: tuple[str, ...]
    other: bool
    missing: bool
    rates: dict[str, float] | None
    missing_rate: float
    base: float
    known: tuple[str, ...]
    ranks: dict[str, int] | None = None

    @classmethod
    def from_state(cls, given: Given) -> CategoryPlan:
        """Read what ``dataclasses.asdict`` gave, and the kind."""
        given.record(
            "kind",
            "levels",
            "other",
            "missing",
            "rates",
            "missing_rate",
            "base",
            "known",
            optional=("ranks",),
        )
        rates, ranks = given.get("rates"), given.get("ranks")
        return cls(
            levels=given["levels"].texts(most=MOST_LEVELS, distinct=True),
            other=given["other"].flag(),
            missing=given["missing"].flag(),
            rates=None if rates is None else {name: rate.number() for name, rate in rates.entries().items()},
            missing_rate=given["missing_rate"].number(),
            base=given["base"].number(),
            known=given["known"].texts(distinct=True),
            ranks=None if ranks is None else {name: rank.whole() for name, rank in ranks.entries().items()},
        )

    def parts(self, feature: str) -> list[Part]:
        """Return the encoded columns of a feature."""
        parts = [Part(feature, "level", level) for level in self.levels]
        parts += [Part(feature, "other")] if self.other else []
        parts += [Part(feature, "missing")] if self.missing else []
        parts += [Part(feature, "rank")] if self.ranks is not None else []
        parts += [Part(feature, "rate")] if self.rates is not None else []
        return parts

    def encode(self, column: Categories, into: Floats) -> None:
        """Write the columns of :meth:`parts`, which are 0 so far."""
        flags = bool(self.other) + bool(self.missing)
        width = len(self.levels) + flags + (self.ranks is not None) + (self.rates is not None)
        check_shape("columns of a category", into, (len(column.codes), width))
        place = {level: j for j, level in enumerate(self.levels)}
        n_levels = len(self.levels)
        # column of each code: a level's own, the one after them for all others, the one after that if missing
        other = n_levels if self.other else -1
        missing = n_levels + bool(self.other) if self.missing else -1
        lookup = np.array([place.get(level, other) for level in column.levels] + [missing], dtype=np.int64)
        if by_kernel(len(column.codes)):
            from icp_ml.model.encodekernel import flag

            flag(column.codes, lookup, into)
        else:
            target = lookup[column.codes]
            flagged = np.flatnonzero(target >= 0)
            into[flagged, target[flagged]] = 1.0
        self.encode_learnt(column, into)

    def encode_learnt(self, column: Categories, into: Floats) -> None:
        """Write the columns that may differ between plans of the same parts."""
        if self.ranks is not None:
            ranks = [float(self.ranks.get(level, np.nan)) for level in column.levels]
            into[:, -1 - (self.rates is not None)] = np.array([*ranks, np.nan])[column.codes]
        if self.rates is not None:
            rates = [self.rates.get(level, self.base) for level in column.levels]
            into[:, -1] = np.array([*rates, self.missing_rate])[column.codes]


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """A technologies column: a flag per frequent tool, the number of rare ones and the number of all.

    Parameters
    ----------
    tools
        Tools with a flag.
    missing
        Whether there is a flag for unknown stacks.
    known
        Tools that training saw in five accounts at least.
    """

    tools: tuple[str, ...]
    missing: bool
    known: tuple[str, ...]

    @classmethod
    def from_state(cls, given: Given) -> ToolPlan:
        """Read what ``dataclasses.asdict`` gave, and the kind."""
        given.record("kind", "tools", "missing", "known")
        return cls(
            tools=given["tools"].texts(most=MOST_TOOLS, distinct=True),
            missing=given["missing"].flag(),
            known=given["known"].texts(distinct=True),
        )

    def parts(self, feature: str) -> list[Part]:
        """Return the encoded columns of a feature."""
        parts = [Part(feature, "tool", tool) for tool in self.tools]
        parts += [Part(feature, "rare"), Part(feature, "count")]
        return parts + ([Part(feature, "missing")] if self.missing else [])

    def encode(self, column: Tools, into: Floats) -> None:
        """Write the columns of :meth:`parts`, which are 0 so far."""
        n_tools = len(self.tools)
        check_shape("columns of tools", into, (len(column.known), n_tools + 2 + bool(self.missing)))
        place = {name: code for code, name in enumerate(column.names)}
        flags = np.full(len(column.names), -1, dtype=np.int64)
        for j, tool in enumerate(self.tools):
            if tool in place:
                flags[place[tool]] = j
        uses = column.uses
        if by_kernel(len(column.known)):
            from icp_ml.model.encodekernel import flag_tools

            flag_tools(uses.indptr, uses.indices, flags, into, n_tools)
        else:
            sizes = np.diff(uses.indptr)
            rows, target = np.repeat(np.arange(len(sizes)), sizes), flags[uses.indices]
            rows, target = rows[target >= 0], target[target >= 0]
            into[rows, target] = 1.0
            into[:, n_tools] = sizes - np.bincount(rows, minlength=len(sizes))
            into[:, n_tools + 1] = sizes
        into[~column.known, : n_tools + 2] = np.nan
        if self.missing:
            into[:, n_tools + 2] = ~column.known
