"""What each level and tool says of how typical a row is, in tables made once: rows only look it up and add.

The tables hold what margins of fields and their common factors say, see :mod:`icp_ml.serve.typicality`. A
row's sums are taken field by field in a fixed order, so that they don't depend on its batch by a single bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icp_ml.model.columns import Categories, Columns, Tools
from icp_ml.serve.factors import Factors, Groups
from icp_ml.serve.margins import LevelMargin, ToolMargin, normal_scores, surprise_of_scores

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MOST_NEW = 3.0
_SURPRISE, _COUNT, _UNKNOWN, _FACTORS = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Tally:
    """What the fields of each row say together.

    Parameters
    ----------
    most, total, count
        Largest surprise of a field, sum of these surprises, and how many fields have one.
    new
        Largest surprise of a level or of tools never seen.
    mix
        How rare the tools are for their number, in standard deviations, 0 at least.
    unknown
        Surprise of which fields are known.
    along, off
        Distance along the factors and off them.
    """

    most: Floats
    total: Floats
    count: Floats
    new: Floats
    mix: Floats
    unknown: Floats
    along: Floats
    off: Floats


@dataclass(frozen=True, eq=False, slots=True)
class LevelTable:
    """One category: a row per level, then one for any other level and one for an unknown value.

    Parameters
    ----------
    place
        Level → its row.
    sums
        Surprise, 1 if known, surprise of being known or unknown, then :meth:`Factors.sums`.
    new
        Surprise of a level never seen, else 0.
    gram
        :meth:`Factors.gram` of the level's flags.
    """

    place: Mapping[str, int]
    sums: Floats
    new: Floats
    gram: Floats

    @classmethod
    def of(cls, margin: LevelMargin, known: float, factors: Factors, flags: FieldFlags) -> LevelTable:
        """Tabulate what a margin and the factors say of each level."""
        levels = tuple(margin.shared)
        sums = np.zeros((len(levels) + 2, _FACTORS + factors.loadings.shape[1] + 2))
        sums[:, _SURPRISE] = np.append(margin.by_level(levels), [margin.new, 0.0])
        sums[:-1, _COUNT] = 1.0
        sums[:, _UNKNOWN] = np.append(np.full(len(levels) + 1, -np.log(known)), -np.log1p(-known))
        held = np.array(
            [[level == flag for flag in flags.names] for level in (*levels, "")], dtype=np.float64
        )
        sums[:-1, _FACTORS:] = factors.sums(flags.coordinates(held.reshape(len(levels) + 1, -1)), flags.at)
        new = np.zeros(len(sums))
        new[-2] = margin.new
        place = {level: row for row, level in enumerate(levels)}
        return cls(place, sums, new, factors.gram(flags.at))

    @property
    def surprises(self) -> Floats:
        """Surprise of each row of the table."""
        return self.sums[:, _SURPRISE]

    def rows(self, column: Categories) -> Ints:
        """Return the row of the table for each row of a column."""
        other = len(self.place)
        found = [self.place.get(level, other) for level in column.levels]
        return np.array([*found, other + 1], dtype=np.int64)[column.codes]


@dataclass(frozen=True, eq=False, slots=True)
class ToolTable:
    """One technologies column.

    Parameters
    ----------
    margin
        How often each tool is used.
    known
        Share of accounts whose stack is known.
    none
        :meth:`Factors.sums` of an account without tools.
    more
        Tool → what using it adds to that.
    gram
        :meth:`Factors.gram` of the tools' flags.
    """

    margin: ToolMargin
    known: float
    none: Floats
    more: Mapping[str, Floats]
    gram: Floats

    @classmethod
    def of(cls, margin: ToolMargin, known: float, factors: Factors, flags: FieldFlags) -> ToolTable:
        """Tabulate what the factors say of each tool with a flag."""
        stacks = np.concatenate([np.zeros((1, len(flags.names))), np.eye(len(flags.names))])
        sums = factors.sums(flags.coordinates(stacks), flags.at)
        more = dict(zip(flags.names, sums[1:] - sums[0], strict=True))
        return cls(margin, known, sums[0], more, factors.gram(flags.at))

    def measure(self, tools: Tools) -> tuple[Floats, Floats, Floats]:
        """Return per row the number of known tools, their rarity in sd and the surprise of new ones.

        Where the stack is unknown the number is NaN and the others are 0.
        """
        number, rare, unseen = self.margin.measure(tools)
        new = np.minimum(unseen, _MOST_NEW) * self.margin.new
        return number, np.where(np.isfinite(rare), rare, 0.0), new

    def number_scores(self, number: Floats) -> Floats:
        """Return the normal scores of the number of tools, NaN where it's unknown."""
        if self.margin.number is None:
            return np.full(len(number), np.nan)
        return np.asarray(normal_scores([self.margin.number], [number])[0])

    def sums(self, tools: Tools) -> Floats:
        """Return the surprise of a stack being known or unknown, and :meth:`Factors.sums`, per row."""
        nothing = np.zeros_like(self.none)
        more = np.array([self.more.get(name, nothing) for name in tools.names]).reshape(-1, len(nothing))
        found = np.empty((len(tools.known), 1 + len(nothing)))
        found[:, 0] = np.where(tools.known, -np.log(self.known), -np.log1p(-self.known))
        found[:, 1:] = np.where(tools.known[:, None], self.none + tools.uses @ more, 0.0)
        return found


@dataclass(frozen=True, slots=True)
class FieldFlags:
    """The coordinates that are levels or tools of one field.

    Parameters
    ----------
    names
        Level or tool of each.
    shares
        Share of accounts that have it.
    at
        Position among all coordinates.
    """

    names: tuple[str, ...]
    shares: Floats
    at: Ints

    def coordinates(self, held: Floats) -> Floats:
        """Return standardised coordinates of flags that are 0 or 1."""
        return standardised(held, self.shares)


def standardised(held: Floats, shares: Floats | float) -> Floats:
    """Return flags of 0 and 1 (NaN unknown) in standard deviations from the share that has them."""
    return np.asarray((held - shares) / np.sqrt(shares * (1.0 - shares)))


@dataclass(frozen=True, eq=False, slots=True)
class FieldTables:
    """Tables of all fields.

    Parameters
    ----------
    levels, tools
        Field → its table.
    known
        Field → share of accounts that have it.
    factors
        Factor model of the coordinates: numbers in order, then flags.
    """

    levels: Mapping[str, LevelTable]
    tools: Mapping[str, ToolTable]
    known: Mapping[str, float]
    factors: Factors

    @classmethod
    def of(
        cls,
        n_numbers: int,
        levels: Mapping[str, LevelMargin],
        tools: Mapping[str, ToolMargin],
        known: Mapping[str, float],
        flags: Sequence[tuple[str, str, float]],
        factors: Factors,
    ) -> FieldTables:
        """Tabulate what margins and factors say; the other parameters are those of a ``Detector``."""

        def own(field: str) -> FieldFlags:
            found = [(j, name, share) for j, (of, name, share) in enumerate(flags) if of == field]
            at = np.array([n_numbers + j for j, _, _ in found], dtype=np.int64)
            return FieldFlags(tuple(name for _, name, _ in found), np.array([s for *_, s in found]), at)

        by_level = {n: LevelTable.of(margin, known[n], factors, own(n)) for n, margin in levels.items()}
        by_tool = {n: ToolTable.of(margin, known[n], factors, own(n)) for n, margin in tools.items()}
        return cls(by_level, by_tool, known, factors)

    def tally(self, columns: Columns, scores: Floats) -> Tally:
        """Add up what all fields of each row say; ``scores`` are the normal scores of its numbers."""
        n, n_factors = columns.n_rows, self.factors.loadings.shape[1]
        sums = np.zeros((n, _FACTORS + n_factors + 2))
        most, new, mix = np.zeros(n), np.zeros(n), np.zeros(n)
        known, grams, stacks = [], [], []
        for name, level_table in self.levels.items():
            rows = level_table.rows(columns.categories[name])
            own = level_table.sums[rows]
            sums += own
            most = np.maximum(most, own[:, _SURPRISE])
            new = np.maximum(new, level_table.new[rows])
            known.append(columns.categories[name].codes >= 0)
            grams.append(level_table.gram)
        for name, tool_table in self.tools.items():
            number, rarity, unseen = tool_table.measure(columns.tools[name])
            sums[:, _UNKNOWN:] += tool_table.sums(columns.tools[name])
            new, mix = np.maximum(new, unseen), np.maximum(mix, rarity)
            known.append(columns.tools[name].known)
            grams.append(tool_table.gram)
            stacks.append(tool_table.number_scores(number))
        told = surprise_of_scores(np.concatenate([scores, np.array(stacks).reshape(len(stacks), n)]))
        is_known = np.isfinite(told)
        told = np.where(is_known, told, 0.0)
        total, count, unknown = (np.ascontiguousarray(sums[:, j]) for j in range(_FACTORS))
        most = np.maximum(most, told.max(axis=0, initial=0.0))
        count += is_known.sum(axis=0)
        for surprise in told:
            total += surprise
        shares = np.array([self.known[name] for name in columns.numbers])[:, None]
        gone = np.isnan(np.array(list(columns.numbers.values())).reshape(len(shares), n))
        for surprise in np.where(gone, -np.log1p(-shares), -np.log(shares)):
            unknown += surprise
        groups = Groups(
            np.array(known, dtype=bool).reshape(len(known), n),
            np.array(grams).reshape(len(grams), n_factors, n_factors),
            sums[:, _FACTORS:].T,
        )
        return Tally(most, total, count, new, mix, unknown, *self.factors.measure(scores.T, groups))
