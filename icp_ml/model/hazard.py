"""A discrete-time hazard: every observed month teaches, also of accounts whose window isn't over."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from icp_ml.data.ipcw import period_rows
from icp_ml.data.schema import KEYS, Feature, Schema
from icp_ml.errors import InputMismatchError, NotEnoughDataError
from icp_ml.model.columns import Floats, infer_schema
from icp_ml.model.propensity import PropensityClassifier

PERIOD, PERIOD_LEVEL = "period_", "period_level_"


class HazardClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Chance of leaving within a horizon, from accounts that were followed for different lengths of time.

    Each account becomes one row for each period in which it was observed and still there; the outcome is
    whether it left in that period (Cox 1972, section 6; Allison 1982, Sociological Methodology 13:61). A
    :class:`PropensityClassifier` learns the chance per period, with the period as one more feature. The
    chance of leaving within the horizon is 1 less the product of the chances to stay.

    Parameters
    ----------
    horizon
        Number of periods (months).
    candidates, n_bags, n_folds, random_state, n_jobs
        See :class:`PropensityClassifier`.

    Attributes
    ----------
    classes_ : ndarray
        ``[0, 1]``; 1 is leaving within the horizon.
    hazard_ : PropensityClassifier
        The chance per period.
    n_rows_ : int
        Observed account-periods.
    observed_ : ndarray
        For each period how many accounts were observed in it.

    Notes
    -----
    Being cut off must not depend on the outcome given the features. Contributions of the hazard are not those
    of the horizon: a product has none.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> frame = pd.DataFrame({"size": rng.normal(size=300)})
    >>> months, left = rng.integers(1, 13, 300), rng.random(300) < 0.4
    >>> model = HazardClassifier(candidates=("logistic",), n_bags=1, n_jobs=1).fit(frame, months, left)
    >>> model.predict_proba(frame).shape, model.n_rows_ == months.sum()
    ((300, 2), np.True_)
    """

    def __init__(
        self,
        *,
        horizon: int = 12,
        candidates: tuple[str, ...] = ("additive", "logistic"),
        n_bags: int = 5,
        n_folds: int = 5,
        random_state: int | None = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.horizon = horizon
        self.candidates = candidates
        self.n_bags = n_bags
        self.n_folds = n_folds
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(
        self,
        X: pd.DataFrame,
        periods: npt.ArrayLike,
        left: npt.ArrayLike,
        groups: npt.ArrayLike | None = None,
        schema: Schema | None = None,
    ) -> HazardClassifier:
        """Learn from features and follow-up.

        Parameters
        ----------
        X
            One row per account (and snapshot): a features frame, or any frame of numbers, text and lists.
        periods
            Whole periods that each row was followed; 0 teaches nothing.
        left
            Whether it left in the last of them.
        groups
            Account per row; without it each row is its own.
        schema
            Kinds of the columns; None infers them.

        Raises
        ------
        ConfigError
            If follow-up times are no whole periods.
        NotEnoughDataError
            If nobody left, or a period of the horizon was observed for nobody.
        """
        if not isinstance(X, pd.DataFrame) or len(X) != len(np.atleast_1d(np.asarray(periods))):
            raise InputMismatchError(
                f"expected a frame with one row for each of {np.size(periods)} periods, found "
                f"{type(X).__name__} of {len(X) if hasattr(X, '__len__') else 'no'} rows: give both",
                found=type(X).__name__,
            )
        X = X.set_axis(X.columns.astype(str), axis=1)
        rows, period, event = period_rows(periods, left, self.horizon)
        self.observed_ = np.bincount(period, minlength=self.horizon + 1)[1:]
        if not event.any() or not self.observed_.all():
            raise NotEnoughDataError(
                f"expected accounts that left and accounts in each of {self.horizon} periods, found "
                f"{int(event.sum())} that left and accounts up to period {int((self.observed_ > 0).sum())}: "
                "a shorter horizon, or earlier snapshots",
                left=int(event.sum()),
                observed=self.observed_.tolist(),
            )
        known = infer_schema(X, skip=KEYS) if schema is None else schema
        self.schema_ = known
        wide = Schema((*known.features, Feature(PERIOD, "numeric"), Feature(PERIOD_LEVEL, "category")))
        account = np.arange(len(X)) if groups is None else np.asarray(groups)
        self.hazard_ = PropensityClassifier(
            candidates=self.candidates,
            n_bags=self.n_bags,
            n_folds=self.n_folds,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        ).fit_features(self._wide(X.iloc[rows], period), wide, event, account[rows])
        self.classes_ = np.array([0, 1])
        self.n_rows_ = len(rows)
        return self

    def _wide(self, X: pd.DataFrame, period: npt.NDArray[Any]) -> pd.DataFrame:
        found = X.set_axis(X.columns.astype(str), axis=1)
        missing = [name for name in self.schema_.names if name not in found.columns]
        if missing:
            raise InputMismatchError(
                f"expected the {len(self.schema_.names)} columns of the training, found {len(missing)} "
                f"missing: {missing[:5]}; add them",
                missing=missing,
            )
        table = found[self.schema_.names].reset_index(drop=True)
        table[PERIOD] = period.astype(np.float64)
        table[PERIOD_LEVEL] = pd.Series([f"period {value}" for value in period.tolist()], dtype=object)
        return table

    def hazards(self, X: pd.DataFrame) -> Floats:
        """Return the chance to leave in each period, given still there, shape (rows, horizon)."""
        check_is_fitted(self)
        found = [
            self.hazard_.predict_proba(self._wide(X, np.full(len(X), period)))[:, 1]
            for period in range(1, self.horizon + 1)
        ]
        return np.stack(found, axis=1)

    def survival(self, X: pd.DataFrame) -> Floats:
        """Return the chance to be still there after each period, shape (rows, horizon)."""
        return np.asarray(np.cumprod(1.0 - self.hazards(X), axis=1))

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Return the chances to stay and to leave within the horizon, shape (rows, 2)."""
        stays = self.survival(X)[:, -1]
        return np.column_stack([stays, 1.0 - stays])

    def predict(self, X: pd.DataFrame) -> npt.NDArray[Any]:
        """Return 1 where leaving within the horizon is the likelier outcome."""
        return np.asarray(self.classes_[(self.predict_proba(X)[:, 1] > 0.5).astype(int)])
