"""The candidate set: what can be a member of the model, how it is fitted, how it explains itself exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from icp_ml.model.bands import EXPECTED, fit_band_path
from icp_ml.model.columns import Floats
from icp_ml.model.contributions import StepTables, add_bags, compile_steps
from icp_ml.model.encoding import Part
from icp_ml.model.estimator import (
    booster_from_text,
    booster_to_text,
    dump_trees,
    expected_value,
    fit_booster,
    predict_path,
)
from icp_ml.model.linear import PENALTIES, LinearModel, fit_linear_path
from icp_ml.model.steps import StepModel, tables_of

if TYPE_CHECKING:
    from icp_ml.model.fasttree.public import FastTreeContributions

SCORED_ROLES = frozenset({"value", "count", "rare", "rank"})


class Member(Protocol):
    """A fitted candidate: a small bag of models of one family on the same encoded columns."""

    @property
    def base(self) -> float:
        """Expected log-odds, averaged over the bag."""

    def raw(self, X: Floats) -> Floats:
        """Return log-odds averaged over the bag."""

    def raw_bags(self, X: Floats) -> Floats:
        """Return log-odds of each model of the bag, shape (bags, rows)."""

    def add_to(self, parts: Floats, X: Floats, scale: float) -> tuple[Floats, Floats]:
        """Add contributions, times ``scale``, to ``parts``; return :meth:`raw` and :meth:`raw_bags`.

        ``parts`` has shape (encoded columns, rows); with :attr:`base` contributions add up to :meth:`raw`,
        and the two returned are the same to the last bit.
        """

    def to_state(self) -> tuple[dict[str, Any], list[str]]:
        """Return a JSON-able dict and LightGBM texts."""


class _Tabled:
    """What holds a step function per encoded column is looked up in them."""

    tables: StepTables

    @property
    def base(self) -> float:
        """Expected log-odds, averaged over the bag."""
        return float(self.tables.base.mean())

    def raw(self, X: Floats) -> Floats:
        """Return log-odds averaged over the bag."""
        return self.tables.raw(X)

    def raw_bags(self, X: Floats) -> Floats:
        """Return log-odds of each booster, shape (bags, rows)."""
        return self.tables.raw_bags(X)

    def add_to(self, parts: Floats, X: Floats, scale: float) -> tuple[Floats, Floats]:
        """Add scaled contributions to ``parts``; return log-odds and those of each model."""
        return self.tables.add_to(parts, X, scale)


@dataclass(frozen=True)
class AdditiveMember(_Tabled):
    """Boosters whose trees have one split."""

    texts: tuple[str, ...]
    tables: StepTables

    @classmethod
    def from_texts(cls, texts: tuple[str, ...], n_columns: int) -> AdditiveMember:
        """Compile the step tables of model texts."""
        return cls(texts, compile_steps([dump_trees(booster_from_text(text)) for text in texts], n_columns))

    def to_state(self) -> tuple[dict[str, Any], list[str]]:
        """Return a JSON-able dict and LightGBM texts."""
        return {"kind": "additive", "n_columns": self.tables.n_columns}, list(self.texts)


@dataclass(frozen=True)
class StepMember(_Tabled):
    """Sums of steps."""

    models: tuple[StepModel, ...]
    tables: StepTables

    @classmethod
    def from_models(cls, models: tuple[StepModel, ...], n_columns: int) -> StepMember:
        """Put the steps of all models into one table per column."""
        return cls(models, tables_of(models, n_columns))

    def to_state(self) -> tuple[dict[str, Any], list[str]]:
        """Return a JSON-able dict and no texts."""
        models = [model.to_state() for model in self.models]
        return {"kind": "steps", "n_columns": self.tables.n_columns, "models": models}, []


class TreeMember:
    """Boosters with deeper trees, looked up in tables that are made at the first use and never stored.

    Log-odds come from the tables too, whatever the number of rows: LightGBM's own would differ in the last
    bits, and an account has one score.

    Parameters
    ----------
    texts
        LightGBM texts, one per booster.
    """

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.texts = texts
        self._base = float(np.mean([expected_value(booster_from_text(text)) for text in texts]))
        self._tables: tuple[FastTreeContributions, ...] | None = None
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[TreeMember], tuple[tuple[str, ...]]]:
        return TreeMember, (self.texts,)

    @property
    def base(self) -> float:
        """Expected log-odds, averaged over the bag."""
        return self._base

    def raw(self, X: Floats) -> Floats:
        """Return log-odds averaged over the bag."""
        bags = self.raw_bags(X)
        return add_bags(bags) / len(bags)

    def raw_bags(self, X: Floats) -> Floats:
        """Return log-odds of each booster, shape (bags, rows)."""
        return np.array([tables.predict_raw(X) for tables in self._compiled()])

    def add_to(self, parts: Floats, X: Floats, scale: float) -> tuple[Floats, Floats]:
        """Add scaled contributions to ``parts``; return log-odds and those of each booster."""
        each = scale / len(self.texts)
        bags = np.array([tables.add_to(parts, X, each) for tables in self._compiled()])
        return add_bags(bags) / len(bags), bags

    def _compiled(self) -> tuple[FastTreeContributions, ...]:
        if self._tables is None:
            from icp_ml.model.fasttree.public import FastTreeContributions

            with self._lock:
                if self._tables is None:
                    boosters = [booster_from_text(text) for text in self.texts]
                    self._tables = tuple(FastTreeContributions(booster) for booster in boosters)
        return self._tables

    def to_state(self) -> tuple[dict[str, Any], list[str]]:
        """Return a JSON-able dict and LightGBM texts."""
        return {"kind": "trees"}, list(self.texts)


@dataclass(frozen=True)
class LinearMember:
    """Ridge logistic regressions; their mean is linear again."""

    models: tuple[LinearModel, ...]

    @property
    def base(self) -> float:
        """Expected log-odds, averaged over the bag."""
        return sum(model.intercept for model in self.models) / len(self.models)

    def raw(self, X: Floats) -> Floats:
        """Return log-odds averaged over the bag."""
        bags = self.raw_bags(X)
        return add_bags(bags) / len(bags)

    def raw_bags(self, X: Floats) -> Floats:
        """Return log-odds of each model, shape (bags, rows)."""
        return np.array([model.raw(X) for model in self.models])

    def add_to(self, parts: Floats, X: Floats, scale: float) -> tuple[Floats, Floats]:
        """Add scaled contributions to ``parts``; return log-odds and those of each model."""
        for model in self.models:
            parts += (scale / len(self.models)) * model.contributions(X).T
        bags = self.raw_bags(X)
        return add_bags(bags) / len(bags), bags

    def to_state(self) -> tuple[dict[str, Any], list[str]]:
        """Return a JSON-able dict and no texts."""
        return {"kind": "linear", "models": [model.to_state() for model in self.models]}, []


@dataclass(frozen=True)
class Candidate:
    """A family of models with one complexity to choose.

    Parameters
    ----------
    name
        As in ``PropensityClassifier(candidates=...)``.
    grid
        Complexities tried out of fold: numbers of trees or of expected conditions, or penalties, from simple
        to complex.
    params
        LightGBM parameters; None for the logistic and the bands.
    usual
        Whether it has weight where nothing speaks for other candidates; the rest must earn theirs.
    suits
        Whether it is worth its time with few rows (up to :data:`SMALL_ROWS`), with many (above
        :data:`LARGE_ROWS`), or with any number.
    """

    name: str
    grid: tuple[float, ...]
    params: dict[str, Any] | None
    usual: bool = True
    suits: Literal["few", "many", "any"] = "any"

    def path(
        self,
        X: Floats,
        y: Floats,
        held: Floats,
        parts: tuple[Part, ...],
        seed: int,
        weights: Floats | None = None,
    ) -> Floats:
        """Fit on (X, y) and return log-odds of the held-out rows per complexity, shape (grid, rows)."""
        if self.params is None:
            models = self._without_trees(X, y, parts, self.grid, seed, weights)
            return np.array([model.raw(held) for model in models])
        rounds = tuple(int(n) for n in self.grid)
        booster = fit_booster(X, y, self.params | _monotone(parts), seed, rounds[-1], weights)
        return predict_path(booster, held, rounds)

    def fit_one(
        self,
        X: Floats,
        y: Floats,
        parts: tuple[Part, ...],
        complexity: float,
        seed: int,
        weights: Floats | None = None,
    ) -> str | LinearModel | StepModel:
        """Fit one model of the bag."""
        if self.params is None:
            simpler = self.grid[: self.grid.index(complexity) + 1]
            return self._without_trees(X, y, parts, simpler, seed, weights)[-1]
        fitting = self.params | _monotone(parts)
        return booster_to_text(fit_booster(X, y, fitting, seed, int(complexity), weights))

    def _without_trees(
        self,
        X: Floats,
        y: Floats,
        parts: tuple[Part, ...],
        grid: tuple[float, ...],
        seed: int,
        weights: Floats | None,
    ) -> Sequence[LinearModel | StepModel]:
        directions = np.array([part.direction for part in parts])
        if self.name == "bands":
            return fit_band_path(X, y, grid, seed, weights, directions)
        scored = np.array([part.role in SCORED_ROLES for part in parts])
        return fit_linear_path(X, y, scored, grid, weights, directions)

    def is_worth(self, n_rows: int) -> bool:
        """Whether a default fit should try it on ``n_rows`` training rows."""
        if self.suits == "few":
            return n_rows <= SMALL_ROWS
        return self.suits == "any" or n_rows > LARGE_ROWS

    def for_rows(self, n_rows: int) -> Candidate:
        """Return the candidate with parameters that suit ``n_rows`` training rows."""
        if self.params is None:
            return self
        fitting = dict(self.params)
        fitting["min_data_in_leaf"] = int(max(1, min(fitting["min_data_in_leaf"], n_rows // 10)))
        if self.name in SMOOTH_WHERE_SMALL:
            fitting["extra_trees"] = n_rows <= SMALL_ROWS
        if n_rows > SMALL_ROWS and fitting["num_leaves"] == 2:
            fitting["learning_rate"] = 0.1
        return replace(self, params=fitting)

    def member(self, models: list[Any], n_columns: int) -> Member:
        """Bind fitted models to a member."""
        if self.name == "bands":
            return StepMember.from_models(tuple(models), n_columns)
        if self.params is None:
            return LinearMember(tuple(models))
        if self.params["num_leaves"] == 2:
            return AdditiveMember.from_texts(tuple(models), n_columns)
        return TreeMember(tuple(models))


def _monotone(parts: tuple[Part, ...]) -> dict[str, Any]:
    directions = [part.direction for part in parts]
    return {"monotone_constraints": directions} if any(directions) else {}


def member_from_state(state: dict[str, Any], texts: list[str]) -> Member:
    """Rebuild a member from what its ``to_state`` gave."""
    if state["kind"] == "linear":
        return LinearMember(tuple(LinearModel.from_state(model) for model in state["models"]))
    if state["kind"] == "steps":
        return StepMember.from_models(tuple(map(StepModel.from_state, state["models"])), state["n_columns"])
    if state["kind"] == "additive":
        return AdditiveMember.from_texts(tuple(texts), state["n_columns"])
    return TreeMember(tuple(texts))


_SHARED = {
    "learning_rate": 0.06,
    "lambda_l2": 5.0,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "min_data_in_leaf": 20,
}
# Up to here random thresholds beat the best ones: they smooth steps and favour no column with many values.
SMALL_ROWS = 3_000
# From here large trees are worth their time, which is as much as all others take together.
LARGE_ROWS = 10_000
SMOOTH_WHERE_SMALL = ("additive", "shallow")
_DEEP = {**_SHARED, "num_leaves": 16, "max_depth": 6, "lambda_l2": 3.0}

CANDIDATES: dict[str, Candidate] = {
    "additive": Candidate(
        "additive",
        (20, 40, 70, 100, 140, 180, 230, 290, 360, 440, 540, 660),
        {**_SHARED, "num_leaves": 2},
    ),
    "shallow": Candidate(
        "shallow",
        (10, 20, 30, 45, 60, 80, 100, 130, 160, 200, 250),
        {**_SHARED, "num_leaves": 7, "max_depth": 3},
    ),
    # Ways to learn interactions that err differently: random thresholds are smooth and hard to mislead, the
    # best ones are sharp, and with many rows large trees find what takes many conditions at once.
    "random": Candidate(
        "random",
        (15, 30, 45, 60, 80, 100, 130, 160, 200, 250, 310),
        {
            **_DEEP,
            "num_leaves": 24,
            "max_depth": 7,
            "learning_rate": 0.08,
            "min_data_in_leaf": 4,
            "feature_fraction": 1.0,
            "extra_trees": True,
        },
        usual=False,
        suits="few",
    ),
    "large": Candidate(
        "large",
        (20, 40, 60, 90, 120, 160, 200, 260, 320, 380),
        {**_DEEP, "num_leaves": 31, "max_depth": 8, "learning_rate": 0.07, "feature_fraction": 0.8},
        usual=False,
        suits="many",
    ),
    "deep": Candidate(
        "deep",
        (10, 20, 30, 45, 60, 80, 100, 130, 160, 200, 250, 310, 380),
        {**_DEEP, "learning_rate": 0.05, "min_data_in_leaf": 8},
    ),
    "bands": Candidate("bands", EXPECTED, None),
    "logistic": Candidate("logistic", PENALTIES, None, usual=False),
}
DEFAULT_CANDIDATES = ("additive", "deep", "bands", "random", "large", "logistic")
