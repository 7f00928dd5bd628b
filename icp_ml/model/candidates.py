"""The candidate set: families of models, how one is fitted, and which are tried by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from icp_ml.model.bands import EXPECTED, fit_band_path
from icp_ml.model.bounded import BoundedModel
from icp_ml.model.boundedfit import BOUNDED_PENALTIES, fit_bounded_path
from icp_ml.model.columns import Floats
from icp_ml.model.ebm import ROUNDS, fit_ebm_path
from icp_ml.model.estimator import booster_to_text, fit_booster, predict_path
from icp_ml.model.linear import LinearModel
from icp_ml.model.members import AdditiveMember, BoundedMember, LinearMember, Member, StepMember, TreeMember
from icp_ml.model.plans import Part
from icp_ml.model.ridge import PENALTIES, fit_linear_path
from icp_ml.model.steps import StepModel

# Families whose models are sums of steps.
STEPPED = {"bands": fit_band_path, "ebm": fit_ebm_path}
SCORED_ROLES = frozenset({"value", "count", "rare", "rank"})


@dataclass(frozen=True)
class Candidate:
    """A family of models with one complexity to choose.

    Parameters
    ----------
    name
        As in ``PropensityClassifier(candidates=...)``.
    grid
        Complexities tried out of fold: numbers of trees, rounds or expected conditions, or penalties, from
        simple to complex.
    params
        LightGBM parameters; None for the others.
    usual
        Whether it has weight where nothing speaks for other candidates; the rest must earn theirs.
    least_rows, most_rows
        It is worth its time with more than so many training rows, and up to so many.
    chained
        Whether a model without trees starts from the one of the complexity before.
    """

    name: str
    grid: tuple[float, ...]
    params: dict[str, Any] | None
    usual: bool = True
    least_rows: int = 0
    most_rows: float = np.inf
    chained: bool = True

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
    ) -> str | LinearModel | StepModel | BoundedModel:
        """Fit one model of the bag."""
        if self.params is None:
            simpler = self.grid[: self.grid.index(complexity)] if self.chained else ()
            return self._without_trees(X, y, parts, (*simpler, complexity), seed, weights)[-1]
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
    ) -> Sequence[LinearModel | StepModel | BoundedModel]:
        directions = np.array([part.direction for part in parts])
        if self.name in STEPPED:
            return STEPPED[self.name](X, y, grid, seed, weights, directions)
        scored = np.array([part.role in SCORED_ROLES for part in parts])
        fit = fit_bounded_path if self.name == "bounded" else fit_linear_path
        return fit(X, y, scored, grid, weights, directions)

    def is_worth(self, n_rows: int) -> bool:
        """Whether a default fit should try it on ``n_rows`` training rows."""
        return self.least_rows < n_rows <= self.most_rows

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
        if n_rows > SMALL_ROWS and self.name == "deep":
            fitting["feature_fraction"] = 0.8
        return replace(self, params=fitting)

    def member(self, models: list[Any], n_columns: int) -> Member:
        """Bind fitted models to a member."""
        if self.name in STEPPED:
            return StepMember.from_models(tuple(models), n_columns)
        if self.name == "bounded":
            return BoundedMember.from_models(tuple(models))
        if self.params is None:
            return LinearMember.from_models(tuple(models))
        if self.params["num_leaves"] == 2:
            return AdditiveMember.from_texts(tuple(models), n_columns)
        return TreeMember.checked(tuple(models))


def _monotone(parts: tuple[Part, ...]) -> dict[str, Any]:
    directions = [part.direction for part in parts]
    return {"monotone_constraints": directions} if any(directions) else {}


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
LARGE_ROWS = 5_000
# Above, large trees find a floor and a ceiling themselves.
BOUNDED_ROWS = 20_000
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
        most_rows=SMALL_ROWS,
    ),
    # Where many columns say nothing: a split that gains less is as likely luck.
    "pruned": Candidate(
        "pruned",
        (10, 20, 40, 60, 90, 120, 160, 200, 260, 320, 380, 460),
        {
            **_DEEP,
            "learning_rate": 0.05,
            "min_data_in_leaf": 8,
            "feature_fraction": 0.8,
            "min_gain_to_split": 2.0,
        },
        usual=False,
        most_rows=SMALL_ROWS,
    ),
    "large": Candidate(
        "large",
        (20, 40, 60, 90, 120, 160, 200, 260, 320, 380),
        {**_DEEP, "num_leaves": 63, "max_depth": 9, "learning_rate": 0.06, "feature_fraction": 1.0},
        usual=False,
        least_rows=LARGE_ROWS,
    ),
    "deep": Candidate(
        "deep",
        (10, 20, 30, 45, 60, 80, 100, 130, 160, 200, 250, 310, 380),
        {**_DEEP, "learning_rate": 0.05, "min_data_in_leaf": 8},
    ),
    "bands": Candidate("bands", EXPECTED, None),
    "ebm": Candidate("ebm", ROUNDS, None, usual=False, chained=False),
    "logistic": Candidate("logistic", PENALTIES, None, usual=False),
    "bounded": Candidate(
        "bounded", BOUNDED_PENALTIES, None, usual=False, chained=False, most_rows=BOUNDED_ROWS
    ),
}
DEFAULT_CANDIDATES = ("additive", "deep", "bands", "random", "pruned", "large", "logistic", "bounded")
