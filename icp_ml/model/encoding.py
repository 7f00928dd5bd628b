"""Own numeric encoding: every encoded column belongs to one source feature, so contributions sum back.

Numbers stay numbers. A category becomes a flag per frequent level, one shrunken target statistic when it has
many levels, and the number of the step when its levels are steps of a known order (funding stages, bands). A
technologies column becomes a flag per frequent tool, the number of rare tools and the number of tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data import ladders
from icp_ml.data.floor import FLOOR, accounts_per_code
from icp_ml.data.schema import Schema
from icp_ml.foreign import Given
from icp_ml.model.columns import Categories, Columns, Floats, Ints, Tools, read_columns
from icp_ml.model.folds import group_folds, possible_folds
from icp_ml.model.plans import CategoryPlan, Part, ToolPlan

MIN_ROWS = 10
MIN_SHARE = 0.01
MAX_LEVELS = 16
RATE_ABOVE = 8
MAX_TOOLS = 300
PRIOR_ACCOUNTS = 20.0
RATE_FOLDS = 5
MOST_COLUMNS = 50_000


class Encoder:
    """Turn a features frame into a float64 matrix, each row on its own.

    Attributes
    ----------
    schema
        The source features.
    parts
        One :class:`Part` per encoded column: which feature, which role, which level or tool.
    columns
        Names of the encoded columns.
    source_of
        For each encoded column the position of its source in ``schema.features``.

    Examples
    --------
    >>> from icp_ml.data.schema import Feature
    >>> frame = pd.DataFrame({"size": [1.0, 2, 3, 4] * 5, "plan": ["a", "b"] * 10})
    >>> schema = Schema((Feature("size", "numeric"), Feature("plan", "category")))
    >>> encoder = Encoder.fit(frame, schema, y=np.array([0.0, 1] * 10), groups=np.arange(20))
    >>> encoder.columns
    ['size', 'plan=a', 'plan=b']
    >>> encoder.transform(frame.head(1)).tolist()
    [[1.0, 1.0, 0.0]]
    """

    def __init__(self, schema: Schema, plans: dict[str, CategoryPlan | ToolPlan]) -> None:
        self.schema = schema
        self._plans = plans
        parts: list[Part] = []
        self._slices: dict[str, slice] = {}
        for feature in schema.features:
            own = plans[feature.name].parts(feature.name) if feature.name in plans else None
            if own is None:
                own = [Part(feature.name, "value", direction=feature.direction)]
            self._slices[feature.name] = slice(len(parts), len(parts) + len(own))
            parts += own
        # A model needs a column to look at, even if no level is frequent enough to be one.
        self.parts: tuple[Part, ...] = tuple(parts) or (Part(schema.names[0], "empty"),)
        self.columns: list[str] = [part.name for part in self.parts]
        position = {name: j for j, name in enumerate(schema.names)}
        self.source_of: Ints = np.array([position[part.feature] for part in self.parts], dtype=np.int64)

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame | Columns,
        schema: Schema,
        y: npt.ArrayLike,
        groups: npt.ArrayLike | None = None,
        seed: int = 0,
    ) -> Encoder:
        """Learn levels, tools and target statistics.

        Parameters
        ----------
        frame
            The training rows (or the columns already read from them).
        schema
            The source features.
        y
            Outcome per row, 0 or 1.
        groups
            Account per row; decides how much a level's rows weigh against the prior.
        seed
            Kept for :meth:`fit_transform`, where folds are drawn.
        """
        return cls.fit_transform(frame, schema, y, groups, seed)[0]

    @classmethod
    def fit_transform(
        cls,
        frame: pd.DataFrame | Columns,
        schema: Schema,
        y: npt.ArrayLike,
        groups: npt.ArrayLike | None = None,
        seed: int = 0,
        weights: Floats | None = None,
    ) -> tuple[Encoder, Floats]:
        """Fit, and return the training matrix with out-of-fold target statistics.

        The statistic of a training row never sees the outcome of its own account, so that a model fitted on
        the matrix meets the same kind of number that :meth:`transform` gives a new account. ``weights`` say
        how much each row counts in statistics.
        """
        columns = read_columns(frame, schema) if isinstance(frame, pd.DataFrame) else frame
        outcome = np.asarray(y, dtype=np.float64)
        codes = np.arange(len(outcome)) if groups is None else np.unique(groups, return_inverse=True)[1]
        each = np.ones(len(outcome)) if weights is None else weights
        rows_per_group = float(each.sum()) / (int(codes.max()) + 1)
        prior = PRIOR_ACCOUNTS * rows_per_group
        plans: dict[str, CategoryPlan | ToolPlan] = {}
        for feature in schema.features:
            if feature.kind == "category":
                plans[feature.name] = _plan_categories(
                    columns.categories[feature.name], outcome, each, prior, codes
                )
            elif feature.kind == "technologies":
                plans[feature.name] = _plan_tools(columns.tools[feature.name], codes)
        encoder = cls(schema, plans)
        matrix = encoder.transform(columns)
        encoder._replace_rates(matrix, columns, outcome, each, codes, prior, seed)
        return encoder, matrix

    def transform(self, frame: pd.DataFrame | Columns, order: Literal["C", "F"] = "C") -> Floats:
        """Encode rows; float64 of shape (rows, encoded columns), NaN = unknown.

        Parameters
        ----------
        frame
            Rows, or the columns already read from them.
        order
            Memory by rows (C) or by columns (F), which tables of step functions read faster.

        Raises
        ------
        InputMismatchError
            If a source column is missing or of the wrong kind.
        """
        columns = read_columns(frame, self.schema) if isinstance(frame, pd.DataFrame) else frame
        matrix = np.zeros((columns.n_rows, len(self.parts)), order=order)
        for feature in self.schema.features:
            into = matrix[:, self._slices[feature.name]]
            plan = self._plans.get(feature.name)
            if isinstance(plan, CategoryPlan):
                if into.shape[1]:
                    plan.encode(columns.categories[feature.name], into)
            elif isinstance(plan, ToolPlan):
                plan.encode(columns.tools[feature.name], into)
            else:
                into[:, 0] = columns.numbers[feature.name]
        return matrix

    def recode(self, matrix: Floats, columns: Columns) -> None:
        """Make the matrix of an encoder with the same parts this one's, in place: rates and ranks differ."""
        for name, plan in self._plans.items():
            if isinstance(plan, CategoryPlan):
                plan.encode_learnt(columns.categories[name], matrix[:, self._slices[name]])

    def unseen(self, frame: pd.DataFrame | Columns) -> dict[str, dict[str, Any]]:
        """Count what training never saw.

        Returns
        -------
        dict
            Per feature with unseen levels or tools: ``n_rows`` with one, ``n_values``, ``examples`` (≤ 5).
        """
        columns = read_columns(frame, self.schema) if isinstance(frame, pd.DataFrame) else frame
        report: dict[str, dict[str, Any]] = {}
        for name, plan in self._plans.items():
            known = set(plan.known)
            if isinstance(plan, CategoryPlan):
                column = columns.categories[name]
                used = np.bincount(column.codes[column.codes >= 0], minlength=len(column.levels)) > 0
                new = [j for j, level in enumerate(column.levels) if used[j] and level not in known]
                names, n_rows = column.levels, int(np.isin(column.codes, new).sum())
            else:
                tools = columns.tools[name]
                used = np.bincount(tools.uses.indices, minlength=len(tools.names)) > 0
                new = [j for j, tool in enumerate(tools.names) if used[j] and tool not in known]
                names, n_rows = tools.names, int((np.diff(tools.uses[:, new].tocsr().indptr) > 0).sum())
            if new:
                examples = [names[j] for j in new[:5]]
                report[name] = {"n_rows": n_rows, "n_values": len(new), "examples": examples}
        return report

    def to_state(self) -> dict[str, Any]:
        """Return a JSON-able dict."""
        plans = {
            name: {"kind": "category" if isinstance(plan, CategoryPlan) else "tools", **asdict(plan)}
            for name, plan in self._plans.items()
        }
        return {"schema": self.schema.to_dict(), "plans": plans}

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given) -> Encoder:
        """Rebuild what :meth:`to_state` wrote.

        Raises
        ------
        BundleError
            A field is missing, of another type or out of range, or plans and features don't go together.
        """
        given = Given.of(state, "encoder").record("schema", "plans")
        schema = Schema.from_dict(given["schema"])
        wanted = {
            feature.name: "category" if feature.kind == "category" else "tools"
            for feature in schema.features
            if feature.kind in ("category", "technologies")
        }
        stored = given["plans"].record(*wanted).entries()
        plans: dict[str, CategoryPlan | ToolPlan] = {}
        for name, plan in stored.items():
            plan.record("kind", optional=plan.entries())["kind"].choice([wanted[name]])
            plans[name] = (CategoryPlan if wanted[name] == "category" else ToolPlan).from_state(plan)
        encoder = cls(schema, plans)
        if len(encoder.parts) > MOST_COLUMNS:
            given["plans"].refuse(f"at most {MOST_COLUMNS:,} encoded columns", f"{len(encoder.parts):,}")
        return encoder

    def _replace_rates(
        self,
        matrix: Floats,
        columns: Columns,
        y: Floats,
        each: Floats,
        codes: Ints,
        prior: float,
        seed: int,
    ) -> None:
        rated = [(j, part.feature) for j, part in enumerate(self.parts) if part.role == "rate"]
        n_folds = possible_folds(y, codes, RATE_FOLDS)
        if not rated or n_folds < 2:
            return
        fold = group_folds(y, codes, n_folds, seed)
        base = float(each @ y / each.sum())
        neutral = float(np.log(base) - np.log1p(-base))
        for j, name in rated:
            column, plan = columns.categories[name], self._plans[name]
            kept = (plan.rates or {}) if isinstance(plan, CategoryPlan) else {}
            pooled = np.array([level not in kept for level in column.levels] + [False])
            for k in range(n_folds):
                rest, held = fold != k, fold == k
                rates = _level_rates(column.codes[rest], len(column.levels), y[rest], each[rest], base, prior)
                rates[pooled] = neutral
                matrix[held, j] = rates[column.codes[held]]


def _enough(n_rows: int) -> float:
    return max(MIN_ROWS, MIN_SHARE * n_rows)


def _level_rates(codes: Ints, n_levels: int, y: Floats, each: Floats, base: float, prior: float) -> Floats:
    """Log-odds per level, pulled to the base rate; the last entry belongs to missing values (code -1)."""
    shifted = np.where(codes < 0, n_levels, codes)
    n = np.bincount(shifted, weights=each, minlength=n_levels + 1)
    events = np.bincount(shifted, weights=each * y, minlength=n_levels + 1)
    rate = (events + prior * base) / (n + prior)
    rate = np.clip(rate, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(rate) - np.log1p(-rate), dtype=np.float64)


def _plan_categories(column: Categories, y: Floats, each: Floats, prior: float, groups: Ints) -> CategoryPlan:
    n_rows, n_levels = len(column.codes), len(column.levels)
    counts = np.bincount(column.codes[column.codes >= 0], minlength=n_levels)
    held = accounts_per_code(column.codes, groups, n_levels)
    # A level of a few accounts is one of the others: nothing may be kept of it.
    present = [j for j in range(n_levels) if held[j] >= FLOOR]
    order = sorted(present, key=lambda j: (-counts[j], column.levels[j]))
    enough = _enough(n_rows)
    frequent = [j for j in order if counts[j] >= enough][:MAX_LEVELS]
    n_missing = int((column.codes < 0).sum())
    n_other = n_rows - n_missing - int(counts[frequent].sum())
    base = float(each @ y / each.sum())
    rates = _level_rates(column.codes, n_levels, y, each, base, prior)
    none = np.empty(0)
    neutral = float(_level_rates(np.empty(0, dtype=np.int64), 0, none, none, base, prior)[0])
    many = int((counts > 0).sum()) > RATE_ABOVE
    known = tuple(column.levels[j] for j in present)
    steps = ladders.steps(known)
    return CategoryPlan(
        levels=tuple(column.levels[j] for j in frequent),
        other=bool(frequent) and n_other >= enough,
        missing=n_missing >= max(1.0, MIN_SHARE * n_rows),
        rates={column.levels[j]: float(rates[j]) for j in present} if many else None,
        missing_rate=float(rates[-1]),
        base=neutral,
        known=known,
        ranks=None if steps is None else dict(zip(known, steps, strict=True)),
    )


def _plan_tools(column: Tools, groups: Ints) -> ToolPlan:
    n_rows = len(column.known)
    counts = np.bincount(column.uses.indices, minlength=len(column.names))
    owner = np.repeat(groups, np.diff(column.uses.indptr))
    held = accounts_per_code(column.uses.indices, owner, len(column.names))
    enough = (counts >= _enough(n_rows)) & (held >= FLOOR)
    order = sorted(np.flatnonzero(enough), key=lambda j: (-counts[j], column.names[j]))
    n_missing = int((~column.known).sum())
    return ToolPlan(
        tools=tuple(column.names[j] for j in order[:MAX_TOOLS]),
        missing=n_missing >= max(1.0, MIN_SHARE * n_rows),
        known=tuple(name for j, name in enumerate(column.names) if held[j] >= FLOOR),
    )
