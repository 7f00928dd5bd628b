"""How typical a row is of the training accounts: seven ways to be unlike them, ranked on accounts left out.

An account can be unlike the customers in one field, a little in many, in what its fields have in common, in
how they go together, by rare tools, by a level or tool nobody had, or by what is unknown of it. Each way
gives a number per row; each number becomes a tail probability by the training accounts *that didn't fit it*
(cross-fitting), the tail probabilities are joined by their weighted harmonic mean (Wilson 2019, *PNAS* 116,
1195-1200), and the joint number is ranked among the same accounts. So a stated share of genuine customers
is flagged, whatever the columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from icp_ml.data.schema import Schema
from icp_ml.foreign import Given
from icp_ml.model.columns import Columns
from icp_ml.serve.factors import Factors
from icp_ml.serve.fieldtables import FieldTables, standardised
from icp_ml.serve.margins import LevelMargin, NumberMargin, ToolMargin, normal_scores, surprise_of_scores
from icp_ml.serve.ranking import Ranking

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

EDGE, OUT = 97.5, 99.5
"""Percentiles of the training accounts' atypicality from which a row is ``edge`` and ``out``."""
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"new": 0.30, "single": 0.05, "many": 0.05, "along": 0.57, "off": 0.10, "mix": 0.10, "unknown": 0.08}
)
"""Way → its weight in the harmonic mean. What is gross when it happens needs little; another mix of companies
(``along``) is a matter of degree; a level nobody had can't be rarer than one in the number of accounts, so
that small bases need its weight. They don't add up to 1: the joint number is ranked anyhow. Chosen on
simulated worlds, see experiments/applicability."""
FOLDS = 10
SEED = 20_261
BLOCK = 16_384
_FLAG_SHARE = 0.05
_MOST_FLAGS = 120
_STORED_FLAGS = 10_000
_LEAST_SHARE = 1e-12


@dataclass(frozen=True, slots=True)
class Surprises:
    """What each field of a batch says on its own.

    Parameters
    ----------
    fields
        Field → ``-log`` tail probability per row, NaN where unknown; for tools, of their number.
    new
        Field → surprise of levels or tools never seen, 0 without, per row.
    missing
        Field → rows where it's unknown.
    rarity
        Tools column → how rare the tools are for their number, in standard deviations, 0 where unknown.
    """

    fields: dict[str, Floats]
    new: dict[str, Floats]
    missing: dict[str, Flags]
    rarity: dict[str, Floats]


@dataclass(frozen=True, eq=False)
class Detector:
    """Margins of all fields and their common factors, fitted on one set of accounts.

    Parameters
    ----------
    numbers, levels, tools
        Field → its margin.
    known
        Field → share of accounts that have it, never quite 0 or 1.
    flags
        Coordinates made of levels and tools: field, level, share.
    factors
        Factor model of the coordinates: numbers in order, then flags.
    """

    numbers: Mapping[str, NumberMargin]
    levels: Mapping[str, LevelMargin]
    tools: Mapping[str, ToolMargin]
    known: Mapping[str, float]
    flags: tuple[tuple[str, str, float], ...]
    factors: Factors

    @classmethod
    def fit(cls, columns: Columns) -> Detector:
        """Fit all margins, then the factors."""
        n = columns.n_rows
        fitted = {name: NumberMargin.fit(values) for name, values in columns.numbers.items()}
        numbers = {name: margin for name, margin in fitted.items() if margin is not None}
        levels = {name: LevelMargin.fit(column) for name, column in columns.categories.items()}
        tools = {name: ToolMargin.fit(column) for name, column in columns.tools.items()}
        known = {
            name: float(1.0 - (gone.sum() + 0.5) / (n + 1.0)) for name, gone in _missing(columns).items()
        }
        flags = _chosen_flags(levels, tools)
        bare = cls(numbers, levels, tools, known, flags, Factors(np.zeros((0, 0)), np.zeros(0)))
        return cls(numbers, levels, tools, known, flags, Factors.fit(bare.coordinates(columns)))

    @cached_property
    def tables(self) -> FieldTables:
        """What margins and factors say of each level and tool."""
        return FieldTables.of(
            len(self.numbers), self.levels, self.tools, self.known, self.flags, self.factors
        )

    def scored(self, columns: Columns) -> Floats:
        """Return the normal scores of each number, shape (n_numbers, n_rows)."""
        values = [columns.numbers[name] for name in self.numbers]
        scores = normal_scores(list(self.numbers.values()), values)
        return scores.reshape(len(self.numbers), columns.n_rows)

    def coordinates(self, columns: Columns) -> Floats:
        """Return normal scores of numbers and standardised flags, NaN unknown, shape (n_rows, n)."""
        flags = [(name, level) for name, level, _ in self.flags]
        shares = np.array([share for _, _, share in self.flags])
        held = _held(columns, flags)
        flagged = [standardised(column, share) for column, share in zip(held, shares, strict=True)]
        parts = [*self.scored(columns), *flagged]
        return np.stack(parts).T if parts else np.zeros((columns.n_rows, 0))

    def surprises(self, columns: Columns) -> Surprises:
        """Return what each field of each row says on its own."""
        fields = dict(zip(self.numbers, surprise_of_scores(self.scored(columns)), strict=True))
        new: dict[str, Floats] = {}
        rarity: dict[str, Floats] = {}
        for name, level_table in self.tables.levels.items():
            column = columns.categories[name]
            rows = level_table.rows(column)
            fields[name] = np.where(column.codes < 0, np.nan, level_table.surprises[rows])
            new[name] = level_table.new[rows]
        for name, tool_table in self.tables.tools.items():
            number, rarity[name], new[name] = tool_table.measure(columns.tools[name])
            if tool_table.margin.number is not None:
                fields[name] = surprise_of_scores(tool_table.number_scores(number))
        return Surprises(fields, new, _missing(columns), rarity)

    def ways(self, columns: Columns) -> dict[str, Floats]:
        """Return one number per row for each way to be unlike the accounts; large is unlike."""
        said = self.tables.tally(columns, self.scored(columns))
        many = (said.total - said.count) / np.sqrt(np.maximum(said.count, 1.0))
        found = (said.new, said.most, many, said.along, said.off, said.mix, said.unknown)
        return dict(zip(WEIGHTS, found, strict=True))

    def to_state(self) -> dict[str, Any]:
        """Return a plain dict for JSON."""
        return {
            "numbers": {name: margin.to_state() for name, margin in self.numbers.items()},
            "levels": {name: dict(margin.counts) for name, margin in self.levels.items()},
            "tools": {name: margin.to_state() for name, margin in self.tools.items()},
            "known": dict(self.known),
            "flags": [list(flag) for flag in self.flags],
            "factors": self.factors.to_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given) -> Detector:
        """Rebuild what :meth:`to_state` wrote.

        Raises
        ------
        BundleError
            A field is missing, of another type or out of range, or margins, flags and factors don't go
            together.
        """
        given = Given.of(state, "detector").record("numbers", "levels", "tools", "known", "flags", "factors")
        numbers = {name: NumberMargin.from_state(part) for name, part in given["numbers"].entries().items()}
        levels = {name: LevelMargin.from_state(part) for name, part in given["levels"].entries().items()}
        tools = {name: ToolMargin.from_state(part) for name, part in given["tools"].entries().items()}
        given["known"].record(*numbers, *levels, *tools, optional=given["known"].entries())
        known = {
            name: share.number(low=_LEAST_SHARE, high=1.0 - _LEAST_SHARE)
            for name, share in given["known"].entries().items()
        }
        flags = tuple(
            _read_flag(flag, {**levels, **tools}) for flag in given["flags"].each(most=_STORED_FLAGS)
        )
        factors = Factors.from_state(given["factors"], len(numbers) + len(flags))
        return cls(numbers, levels, tools, known, flags, factors)

    def check_fields(self, given: Given, schema: Schema) -> None:
        """Refuse margins of other fields than a schema has, or of other kinds."""
        kinds = {feature.name: feature.kind for feature in schema.features}
        of_kind = {"category": self.levels, "technologies": self.tools}
        for name, kind in kinds.items():
            if name not in self.known:
                given["known"].refuse(f"a share of every feature, such as {name!r}", "none")
            if kind in of_kind and name not in of_kind[kind]:
                given.refuse(f"a margin of the {kind} feature {name!r}", "none")
        for name in (*self.numbers, *self.levels, *self.tools, *self.known):
            if name not in kinds:
                given.refuse("fields that are features", f"{name!r}")
        if wrong := [name for name in self.numbers if kinds[name] in of_kind]:
            given["numbers"].refuse("numbers and yes/no features", f"{wrong[0]!r}, a {kinds[wrong[0]]}")
        for way, margins in of_kind.items():
            if wrong := [name for name in margins if kinds[name] != way]:
                given.refuse(f"margins of {way} features", f"one of {wrong[0]!r}, a {kinds[wrong[0]]}")


@dataclass(frozen=True, eq=False, slots=True)
class Typicality:
    """A detector fitted on all training accounts, and what it says of accounts that didn't fit it.

    Parameters
    ----------
    detector
        Margins and factors.
    ways
        Way → its ranking.
    joint
        Ranking of the joint number.
    n_accounts
        Number of training accounts.
    """

    detector: Detector
    ways: Mapping[str, Ranking]
    joint: Ranking
    n_accounts: int

    def by_way(self, columns: Columns) -> dict[str, Floats]:
        """Return ``-log`` tail probability per row and way."""
        measured = self.detector.ways(columns)
        return {way: ranking.surprise(measured[way]) for way, ranking in self.ways.items()}

    def percentile(self, columns: Columns) -> Floats:
        """Return the share of training accounts that were less unlike the others, 0-100, per row.

        A row of which nothing is known gets 100. Rows are taken in blocks, which bounds the memory.
        """
        starts = range(0, columns.n_rows, BLOCK)
        if len(starts) < 2:
            return self._percentile(columns)
        blocks = [slice(start, start + BLOCK) for start in starts]
        return np.concatenate([self._percentile(columns.take(rows)) for rows in blocks])

    def _percentile(self, columns: Columns) -> Floats:
        percentile = 100.0 * -np.expm1(-self.joint.surprise(joined(self.by_way(columns))))
        known = np.zeros(columns.n_rows, dtype=bool)
        for gone in _missing(columns).values():
            known |= ~gone
        return np.where(known, percentile, 100.0)

    def to_state(self) -> dict[str, Any]:
        """Return a plain dict for JSON."""
        return {
            "detector": self.detector.to_state(),
            "ways": {way: ranking.to_state() for way, ranking in self.ways.items()},
            "joint": self.joint.to_state(),
            "n_accounts": self.n_accounts,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given) -> Typicality:
        """Rebuild what :meth:`to_state` wrote.

        Raises
        ------
        BundleError
            A field is missing, of another type or out of range.
        """
        given = Given.of(state, "typicality").record("detector", "ways", "joint", "n_accounts")
        return cls(
            Detector.from_state(given["detector"]),
            {way: Ranking.from_state(part) for way, part in given["ways"].record(*WEIGHTS).entries().items()},
            Ranking.from_state(given["joint"]),
            given["n_accounts"].whole(low=1),
        )


def _read_flag(given: Given, margins: Mapping[str, LevelMargin | ToolMargin]) -> tuple[str, str, float]:
    field, level, share = given.each(least=3, most=3)
    if field.text() not in margins:
        field.refuse("a category or technologies feature")
    return field.text(), level.text(), share.number(low=_LEAST_SHARE, high=1.0 - _LEAST_SHARE)


def fit_typicality(columns: Columns, groups: npt.NDArray[Any]) -> Typicality:
    """Fit a typicality on accounts, one row each.

    Parameters
    ----------
    columns
        Feature columns.
    groups
        What is left out together, such as accounts of one parent, shape (n_rows,).
    """
    number = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    fold = (np.random.default_rng(SEED).permutation(int(number.max()) + 1) % FOLDS)[number]
    measured = {way: np.zeros(columns.n_rows) for way in WEIGHTS}
    for k in np.unique(fold):
        inside = np.flatnonzero(fold == k)
        others = np.flatnonzero(fold != k) if (fold != k).any() else inside
        for way, values in Detector.fit(columns.take(others)).ways(columns.take(inside)).items():
            measured[way][inside] = values
    rankings = {
        way: Ranking.fit(values, steepest=1.0 if way == "new" else np.inf) for way, values in measured.items()
    }
    joint = joined({way: ranking.surprise(measured[way]) for way, ranking in rankings.items()})
    return Typicality(Detector.fit(columns), rankings, Ranking.fit(joint), columns.n_rows)


def joined(by_way: Mapping[str, Floats]) -> Floats:
    """Return ``-log`` of the weighted harmonic mean of tail probabilities given as ``-log``."""
    parts = [values + np.log(WEIGHTS[way]) for way, values in by_way.items()]
    top = np.max(parts, axis=0)
    total = np.zeros_like(top)
    for part in parts:
        total += np.exp(part - top)
    return np.asarray(top + np.log(total))


def _missing(columns: Columns) -> dict[str, Flags]:
    gone = {name: np.isnan(values) for name, values in columns.numbers.items()}
    gone |= {name: column.codes < 0 for name, column in columns.categories.items()}
    return gone | {name: ~column.known for name, column in columns.tools.items()}


def _chosen_flags(
    levels: Mapping[str, LevelMargin], tools: Mapping[str, ToolMargin]
) -> tuple[tuple[str, str, float], ...]:
    """Choose the levels and tools that vary most among accounts, at most 120."""
    found = []
    for name, margin in levels.items():
        found += [(name, level, count / margin.total) for level, count in margin.shared.items()]
    for name, tool_margin in tools.items():
        found += [(name, tool, count / tool_margin.total) for tool, count in tool_margin.counts.items()]
    varied = [flag for flag in found if _FLAG_SHARE <= flag[2] <= 1.0 - _FLAG_SHARE]
    return tuple(sorted(varied, key=lambda flag: (-flag[2] * (1.0 - flag[2]), flag[:2]))[:_MOST_FLAGS])


def _held(columns: Columns, flags: Sequence[tuple[str, str]]) -> list[Floats]:
    """Return 1.0 where a row has the level or tool, 0.0 where not, NaN where the field is unknown."""
    level_places = {n: {level: j for j, level in enumerate(c.levels)} for n, c in columns.categories.items()}
    tool_places = {n: {tool: j for j, tool in enumerate(c.names)} for n, c in columns.tools.items()}
    by_tool = {name: column.uses.tocsc() for name, column in columns.tools.items()}
    held = []
    for name, level in flags:
        if name in columns.categories:
            codes = columns.categories[name].codes
            has = (codes == level_places[name].get(level, -2)).astype(np.float64)
            has[codes < 0] = np.nan
        else:
            has = np.zeros(columns.n_rows)
            if (place := tool_places[name].get(level)) is not None:
                uses = by_tool[name]
                has[uses.indices[uses.indptr[place] : uses.indptr[place + 1]]] = 1.0
            has[~columns.tools[name].known] = np.nan
        held.append(has)
    return held
