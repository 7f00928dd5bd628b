"""Contributions of any LightGBM model with one output, as ``pred_contrib=True`` returns them, faster."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml import parameters
from icp_ml.errors import ConfigError, InputMismatchError, MissingDependencyError
from icp_ml.model.columns import Floats, Ints
from icp_ml.model.fasttree.check import refuse_other, sample_rows
from icp_ml.model.fasttree.compile import Compiled, compile_tables, pack_forest
from icp_ml.model.fasttree.engine import (
    Backend,
    LookUp,
    each_block,
    interventional_look_up,
    load_engine,
    table_look_up,
)
from icp_ml.model.fasttree.parse import parse_model
from icp_ml.model.fasttree.rows import Rows, read_rows
from icp_ml.model.fasttree.tables import path_dependent

MOST_TABLE_MB = 2.0**20

Work = Callable[[int, int, Floats], None]


@dataclass(frozen=True, slots=True)
class Top:
    """Largest contributions of each row.

    Parameters
    ----------
    raw
        Raw score per row (log-odds of a binary model).
    positive, negative
        Input columns with the largest contributions above and below 0, furthest from 0 first, shape
        (rows, k); -1 where a row has fewer. Of equal contributions the earlier column comes first.
    positive_values, negative_values
        Their contributions; 0 where there is none.
    """

    raw: Floats
    positive: npt.NDArray[np.int32]
    positive_values: Floats
    negative: npt.NDArray[np.int32]
    negative_values: Floats


class FastTreeContributions:
    """Exact contributions (SHAP values) of a LightGBM model, looked up in tables.

    Tables are compiled once; then a row costs less than a prediction by LightGBM. The results are those of
    ``booster.predict(X, pred_contrib=True)``, checked on a sample when compiled; with a background they are
    those of interventional TreeSHAP.

    Parameters
    ----------
    booster
        ``lightgbm.Booster``, or a fitted ``LGBMClassifier`` or ``LGBMRegressor``: numeric and categorical
        splits, any missing type, any boosting mode, one output. Or the text of a model
        (``booster.model_to_string()``): then LightGBM isn't loaded, nor asked if the results are its own.
    dtype
        Of the tables: "float64", or "float32" for half the memory (sums are float64 in both).
    n_jobs
        Threads; blocks of rows are shared among them.
    max_table_mb
        Most memory for tables, in 2 ** 20 bytes. Leaves that don't fit are computed row by row: slower, as
        exact.
    backend
        "auto" takes numba where it is installed, else numpy.
    background
        Sample of rows; a feature that is unknown takes its values from each of them in turn, and the base
        value is their mean raw score. Equal to ``shap.TreeExplainer(model, background,
        feature_perturbation="interventional")`` on numeric models with at most 100 background rows (shap cuts
        larger samples), and exact on categorical ones. Its size doesn't matter to the cost of a row. None:
        path-dependent, as LightGBM.

    Raises
    ------
    InputMismatchError
        If the model is multiclass, has linear leaves or isn't a LightGBM model, or if the results on the
        sample aren't LightGBM's.

    Notes
    -----
    Rows add up to the raw score. Of a random forest (``boosting="rf"``) that is the sum of its trees, as in
    LightGBM, whose prediction is their mean.

    Examples
    --------
    >>> import lightgbm, numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> model = lightgbm.LGBMClassifier(n_estimators=5, num_leaves=4, verbosity=-1, n_jobs=1)
    >>> model = model.fit(X, X[:, 0] > 0)
    >>> fast = FastTreeContributions(model)
    >>> bool(abs(fast.contributions(X) - model.predict(X, pred_contrib=True)).max() < 1e-12)
    True
    >>> fast.top(X[:1], 2).positive.shape
    (1, 2)
    >>> fast.contributions(X[:, :2])
    Traceback (most recent call last):
    ...
    icp_ml.errors.InputMismatchError: expected a matrix with 3 columns, found shape (200, 2): pass all
    """

    def __init__(
        self,
        booster: Any,
        *,
        dtype: Literal["float64", "float32"] = "float64",
        n_jobs: int = 1,
        max_table_mb: float = 256,
        backend: Backend = "auto",
        background: Any = None,
    ) -> None:
        if dtype not in ("float64", "float32"):
            raise ConfigError(f'expected dtype "float64" or "float32", found {dtype!r}', dtype=dtype)
        n_jobs = parameters.jobs(n_jobs) or os.cpu_count() or 1
        max_table_mb = parameters.number("max_table_mb", max_table_mb, 0.0, MOST_TABLE_MB)
        booster = getattr(booster, "booster_", booster)
        if not (isinstance(booster, str) or hasattr(booster, "model_to_string")):
            raise InputMismatchError(
                f"expected a LightGBM booster or estimator, found {type(booster).__name__}: "
                "pass model.booster_",
                found=type(booster).__name__,
            )
        self.n_jobs = n_jobs
        self._engine = load_engine(backend)
        self._forest = parse_model(booster if isinstance(booster, str) else booster.model_to_string())
        packed = pack_forest(self._forest, int(max_table_mb * 2**20) // np.dtype(dtype).itemsize)
        self._compiled: Compiled = compile_tables(packed, dtype=dtype, patterns=path_dependent)
        self._binner, self._base = packed.binner, packed.base
        self._look_up: LookUp = table_look_up(self._engine, self._compiled)
        self._order: Ints = np.arange(len(self._binner.features))
        self._verify(booster, dtype)
        if background is not None:
            self._intervene(background)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Input columns, as the model names them."""
        return self._forest.feature_names

    @property
    def table_bytes(self) -> int:
        """Memory of the tables."""
        return self._compiled.plan.table_bytes

    @property
    def expected_value(self) -> float:
        """Mean raw score over the training rows or the background: the last column of the contributions."""
        return self._base

    def contributions(self, X: Any) -> Floats:
        """Return contributions per input column and the base value, shape (rows, columns + 1)."""
        rows = read_rows(X, self._forest)
        out = np.empty((rows.n, len(self._forest.feature_names) + 1))
        features, base = self._binner.features, self._base

        def work(low: int, high: int, phi: Floats) -> None:
            self._engine.spread(phi, features, base, out[low:high])

        self._each_block(rows, work)
        return out

    def predict_raw(self, X: Any) -> Floats:
        """Return the raw score per row, such as log-odds: base value plus contributions."""
        rows = read_rows(X, self._forest)
        raw = np.empty(rows.n)
        self._each_block(rows, lambda low, high, phi: self._engine.total(phi, self._base, raw[low:high]))
        return raw

    def top(self, X: Any, k: int) -> Top:
        """Return raw score and the ``k`` largest contributions of each sign, without a matrix of all."""
        if k < 1:
            raise ConfigError(f"expected k of 1 or more, found {k}", k=k)
        rows = read_rows(X, self._forest)
        shape = (rows.n, k)
        found = Top(
            np.empty(rows.n),
            np.empty(shape, dtype=np.int32),
            np.empty(shape),
            np.empty(shape, dtype=np.int32),
            np.empty(shape),
        )
        features, base = self._binner.features, self._base

        def work(low: int, high: int, phi: Floats) -> None:
            part = slice(low, high)
            self._engine.total(phi, base, found.raw[part])
            self._engine.largest(
                phi,
                features,
                self._order,
                found.positive[part],
                found.positive_values[part],
                found.negative[part],
                found.negative_values[part],
            )

        self._each_block(rows, work)
        return found

    def explanation(self, X: Any) -> Any:
        """Return a ``shap.Explanation`` for shap's plots.

        Raises
        ------
        MissingDependencyError
            If shap isn't installed.
        """
        if find_spec("shap") is None:
            raise MissingDependencyError("expected shap for an Explanation, found none: pip install shap")
        import shap

        rows = read_rows(X, self._forest)
        values = self.contributions(X)
        return shap.Explanation(
            values[:, :-1],
            base_values=values[:, -1],
            data=rows.block(0, rows.n),
            feature_names=list(self.feature_names),
        )

    def _intervene(self, background: Any) -> None:
        """Take tables against a background sample in place of the path-dependent ones."""
        sample = read_rows(background, self._forest)
        if not sample.n:
            raise InputMismatchError(
                "expected background rows, found none: pass a sample of the training rows"
            )
        self._base = float(self.predict_raw(background).mean())
        self._look_up = interventional_look_up(self._engine, self._compiled, sample.block(0, sample.n))

    def _verify(self, booster: Any, dtype: str) -> None:
        """Put columns in the order of their contributions, and compare a few rows with LightGBM.

        Raises
        ------
        InputMismatchError
            If they differ by more than rounding.
        """
        X = sample_rows(self._binner, len(self.feature_names))
        found = self.contributions(X)
        mean = np.abs(found[:, self._binner.features]).mean(axis=0)
        self._order = np.argsort(-mean, kind="stable")
        if not isinstance(booster, str):
            refuse_other(found, booster, X, dtype)

    def _each_block(self, rows: Rows, work: Work) -> None:
        """Call ``work`` with the contributions (features used, rows) of each block of rows."""
        each_block(
            self._engine,
            self._binner,
            (self._look_up,),
            len(self._binner.features),
            rows,
            self.n_jobs,
            lambda _, low, high, phi: work(low, high, phi),
        )


def contributions(model: Any, X: Any, *, n_jobs: int = 1) -> pd.DataFrame:
    """Return what each column adds to the raw score (log-odds) of each row.

    Parameters
    ----------
    model
        :class:`PropensityClassifier` (calibrated log-odds, source columns), or what
        :class:`FastTreeContributions` takes; for several inputs make that class once.
    X
        Rows to explain.
    n_jobs
        Threads, for boosters.

    Returns
    -------
    DataFrame
        One column per feature and ``base_value`` last; a row adds up to the raw score. Index of ``X``.
    """
    if hasattr(model, "base_value_") and hasattr(model, "contributions"):
        return pd.DataFrame(model.contributions(X)).assign(base_value=model.base_value_)
    fast = FastTreeContributions(model, n_jobs=n_jobs)
    index = X.index if isinstance(X, pd.DataFrame) else None
    return pd.DataFrame(
        fast.contributions(X), index=index, columns=[*fast.feature_names, "base_value"], copy=False
    )
