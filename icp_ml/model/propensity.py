"""A calibrated probability per account, with contributions that add up exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from icp_ml import parameters
from icp_ml.data.schema import KEYS, Feature, Schema
from icp_ml.errors import InputMismatchError, InputValueError
from icp_ml.foreign import Given
from icp_ml.model.candidates import DEFAULT_CANDIDATES
from icp_ml.model.classifierstate import classifier_state
from icp_ml.model.columns import Columns, Floats, columns_from_matrix, infer_schema, read_columns
from icp_ml.model.contributions import sums_by_source
from icp_ml.model.encoding import Encoder
from icp_ml.model.ensemble import Ensemble
from icp_ml.model.fitting import CV_NUMBERS, Learnt, fit_model, parallel
from icp_ml.model.outcome import check_fit, named_input, read_weights, two_classes

BLOCK_ROWS = 16_384


class PropensityClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Calibrated probability of a binary outcome from mixed, partly missing columns, for small data.

    Candidates are mixed by convex weights on log-odds, chosen out of account-grouped folds and, with few
    accounts, close to the usual ones; the mixture is calibrated by a sigmoid and fitted as a small bag.
    Contributions of every source column add up to the calibrated log-odds.

    Parameters
    ----------
    candidates
        Any of ``"additive"`` (LightGBM, trees with one split), ``"shallow"`` (up to 7 leaves), ``"deep"`` (up
        to 16), ``"bands"`` (bands, levels and tools, averaged over which of them), which share the weight
        alike as long as nothing speaks for others. To earn theirs: ``"logistic"``, ``"bounded"`` (the same
        within a floor and a ceiling, to 20,000 rows), ``"random"`` (random thresholds) and ``"pruned"`` (to
        3,000 rows), ``"large"`` (63 leaves, above 5,000) and, on request, ``"ebm"`` (``icp-ml[ebm]``).
    n_bags
        Models averaged in the final fit, each on 90 % of the accounts.
    n_folds
        Folds of the out-of-fold choice; fewer if an outcome has fewer accounts.
    random_state
        Seed; the same seed gives the same model to the last bit.
    n_jobs
        Threads for folds and bags; None = all cores. The result doesn't depend on it.

    Attributes
    ----------
    classes_ : ndarray
        The two classes; probabilities are of ``classes_[1]``.
    schema_ : Schema
        Source columns and their kinds.
    chosen_ : str
        Name of the chosen candidate, or ``"stack"``.
    weights_ : dict
        Candidate → convex weight.
    cv_results_ : DataFrame
        ``candidate``, ``log_loss`` and ``auc`` (out of fold, calibrated), ``complexity``, ``weight``, and
        errors over accounts: ``auc_error``, ``log_loss_error``, ``calibration_slope_error``. The final
        choice is the last row.
    oof_log_odds_ : ndarray
        Calibrated out-of-fold log-odds of the training rows; NaN where the weight is 0.
    calibration_ : Calibration
        ``slope`` and ``intercept``.
    base_rate_ : float
        Mean outcome in training.
    base_value_ : float
        Calibrated log-odds before any contribution.

    Notes
    -----
    A DataFrame given to :meth:`fit` has its kinds inferred and, as everywhere in scikit-learn, must come back
    with the same columns in the same order. After :meth:`fit_features` columns are found by name, in any
    order.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> frame = pd.DataFrame({"size": rng.normal(size=200), "plan": rng.choice(["a", "b"], 200)})
    >>> y = (frame["size"] + rng.normal(size=200) > 0).astype(int)
    >>> model = PropensityClassifier(candidates=("logistic",), n_bags=2).fit(frame, y)
    >>> parts = model.contributions(frame)
    >>> bool(np.allclose(model.base_value_ + parts.sum(axis=1), model.decision_function(frame)))
    True
    """

    def __init__(
        self,
        *,
        candidates: tuple[str, ...] = DEFAULT_CANDIDATES,
        n_bags: int = 5,
        n_folds: int = 5,
        random_state: int | np.random.RandomState | None = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.candidates = candidates
        self.n_bags = n_bags
        self.n_folds = n_folds
        self.random_state = random_state
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: Any, y: Any, groups: npt.ArrayLike | None = None) -> PropensityClassifier:
        """Fit from any frame or matrix.

        Parameters
        ----------
        X
            DataFrame of numbers, true/false, text and lists (``account_id`` and ``as_of`` are ignored), or a
            numeric matrix; missing values welcome.
        y
            Two classes.
        groups
            Account per row; rows of one account stay together in folds.

        Raises
        ------
        ValueError
            If there are not two classes, or parameters are out of range.
        """
        with named_input():
            columns, schema, y = self._read(X, y)
        self._by_name = False
        return self._fit_columns(columns, schema, y, groups, None)

    def _read(self, X: Any, y: Any) -> tuple[Columns, Schema, npt.NDArray[Any]]:
        if not isinstance(X, pd.DataFrame):
            X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")
            schema = Schema(tuple(Feature(f"x{j}", "numeric") for j in range(X.shape[1])))
            return columns_from_matrix(X, schema), schema, y
        validate_data(self, X, y, skip_check_array=True)
        if len(X) == 0:
            raise ValueError("expected rows to train on, found 0 sample(s) (shape=(0, ...)): give some")
        named = X.set_axis(X.columns.astype(str), axis=1)
        schema = infer_schema(named, skip=KEYS)
        columns = read_columns(named, schema)
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        return columns, schema, y

    def fit_features(
        self,
        features: pd.DataFrame,
        schema: Schema,
        y: npt.ArrayLike,
        groups: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> PropensityClassifier:
        """Fit from a features frame whose kinds are known.

        Parameters
        ----------
        features
            Columns are found by name, here and whenever it is scored.
        schema
            The feature columns to use.
        y
            Outcome per row, 0 or 1.
        groups
            Account per row.
        sample_weight
            How much each row counts, everywhere; rows of weight 0 are left out. :meth:`fit` has no weights:
            scikit-learn takes those for copies of rows, to the last digit, and folds deal rows.

        Raises
        ------
        ValueError
            If there are not two classes, or weights are no finite numbers of at least 0.
        InputMismatchError
            If a column of the schema is missing or not of its kind.
        """
        with named_input():
            columns = read_columns(features, schema)
            outcome: npt.NDArray[Any] = column_or_1d(np.asarray(y))
            check_consistent_length(features, outcome)
        self.n_features_in_ = len(schema.features)
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self._by_name = True
        return self._fit_columns(columns, schema, outcome, groups, sample_weight)

    def _fit_columns(
        self,
        columns: Columns,
        schema: Schema,
        y: npt.NDArray[Any],
        groups: npt.ArrayLike | None,
        sample_weight: npt.ArrayLike | None,
    ) -> PropensityClassifier:
        check_fit(self.candidates, self.n_bags, self.n_folds, self.random_state, self.n_jobs)
        if not schema.features:
            raise InputValueError(
                "expected at least one feature column, found 0 feature(s): give columns besides the keys"
            )
        with named_input():
            if groups is not None:
                check_consistent_length(y, groups)
            weights = read_weights(sample_weight, len(y))
            counted = slice(None) if weights is None else np.flatnonzero(weights > 0)
            self.classes_, outcome = two_classes(y[counted])
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        fitted = fit_model(
            Learnt.of(columns, schema, outcome, groups, weights),
            candidates=tuple(self.candidates),
            n_bags=self.n_bags,
            n_folds=self.n_folds,
            seed=seed,
            n_jobs=parameters.jobs(self.n_jobs),
        )
        self._ensemble, self.cv_results_ = fitted.ensemble, fitted.cv_results
        self.base_rate_ = fitted.base_rate
        self._describe()
        self.oof_log_odds_ = np.full(len(y), np.nan)
        self.oof_log_odds_[counted] = fitted.oof_log_odds
        return self

    def _describe(self) -> None:
        self.schema_ = (ensemble := self._ensemble).encoder.schema
        self.weights_ = dict(ensemble.weights)
        self.chosen_ = next(iter(ensemble.weights)) if len(ensemble.weights) == 1 else "stack"
        self.calibration_ = ensemble.calibration
        self.base_value_ = ensemble.base_value

    @property
    def ensemble(self) -> Ensemble:
        """Encoder, members and calibration, for columns that are already read."""
        check_is_fitted(self)
        return self._ensemble

    def decision_function(self, X: Any) -> Floats:
        """Return calibrated log-odds of ``classes_[1]`` per row."""
        return np.concatenate(self._blockwise(X, lambda ensemble, matrix: ensemble.log_odds(matrix)))

    def predict_proba(self, X: Any) -> Floats:
        """Return the probabilities of both classes, shape (rows, 2)."""
        probability = expit(self.decision_function(X))
        return np.column_stack([1.0 - probability, probability])

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the more probable class per row."""
        positive = self.decision_function(X) > 0
        return np.asarray(self.classes_[positive.astype(int)])

    def contributions(self, X: Any) -> pd.DataFrame:
        """Return the contribution of each source column to the calibrated log-odds.

        Returns
        -------
        DataFrame
            Index of ``X``, one column per source feature; ``base_value_`` plus the sum of a row is its
            :meth:`decision_function`, to rounding.
        """
        check_is_fitted(self)
        source_of, n_sources = self._ensemble.encoder.source_of, len(self.schema_.features)

        def summed(ensemble: Ensemble, matrix: Floats) -> Floats:
            return sums_by_source(ensemble.contributions(matrix), source_of, n_sources)

        values = np.concatenate(self._blockwise(X, summed))
        index = X.index if isinstance(X, pd.DataFrame) else None
        return pd.DataFrame(values, index=index, columns=self.schema_.names)

    def encoded_contributions(self, X: Any) -> tuple[Floats, Encoder]:
        """Return contributions per encoded column (level, tool, number) and the encoder that names them.

        Returns
        -------
        tuple of ndarray and Encoder
            The matrix of shape (rows, encoded columns); ``encoder.parts`` says what each column is.
        """
        check_is_fitted(self)
        blocks = self._blockwise(X, lambda ensemble, matrix: ensemble.contributions(matrix))
        return np.concatenate(blocks), self._ensemble.encoder

    def interval(self, X: Any) -> tuple[Floats, Floats]:
        """Return lower and upper end of a 90 % interval of the probability of ``classes_[1]``.

        It covers what another sample of accounts would have taught the model and the calibration; it doesn't
        cover what no model of these columns can know.
        """
        ends = self._blockwise(X, lambda ensemble, matrix: np.stack(ensemble.interval(matrix)))
        low, high = np.concatenate(ends, axis=1)
        return low, high

    def baseline_proba(self, X: Any) -> Floats | None:
        """Return the probability of ``classes_[1]`` by the logistic alone, None if it was no candidate."""
        check_is_fitted(self)
        if self._ensemble.baseline is None:
            return None
        blocks = self._blockwise(X, lambda ensemble, matrix: ensemble.baseline_log_odds(matrix))
        return np.asarray(expit(np.concatenate(blocks)))

    def unseen(self, X: pd.DataFrame) -> dict[str, dict[str, Any]]:
        """Count levels and tools that training never saw, see :meth:`Encoder.unseen`."""
        check_is_fitted(self)
        return self._ensemble.encoder.unseen(X)

    def _blockwise(self, X: Any, task: Callable[[Ensemble, Floats], Any]) -> list[Any]:
        check_is_fitted(self)
        with named_input():
            X = self._checked(X)
        ensemble = self._ensemble

        def one(start: int) -> Any:
            rows = slice(start, start + BLOCK_ROWS)
            if isinstance(X, pd.DataFrame):
                columns = read_columns(X.iloc[rows], self.schema_)
            else:
                columns = columns_from_matrix(X[rows], self.schema_)
            return task(ensemble, ensemble.encoder.transform(columns))

        return parallel(one, range(0, max(len(X), 1), BLOCK_ROWS), parameters.jobs(self.n_jobs))

    def _checked(self, X: Any) -> Any:
        if self._by_name:
            if not isinstance(X, pd.DataFrame):
                raise InputMismatchError(
                    f"expected a features frame, found {type(X).__name__}: columns are found by name",
                    found=type(X).__name__,
                )
            return X
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, skip_check_array=True, reset=False)
            named = X.set_axis(X.columns.astype(str), axis=1)
            if set(self.schema_.names) <= set(named.columns):
                return named
        return validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)

    def to_state(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return a JSON-able dict and LightGBM texts by name; no pickle needed.

        The out-of-fold log-odds belong to the training rows and stay behind.
        """
        check_is_fitted(self)
        ensemble, texts = self._ensemble.to_state()
        results = self.cv_results_.astype(object).where(self.cv_results_.notna(), None)
        seed = self.random_state if isinstance(self.random_state, (int, np.integer)) else None
        state = {
            "params": {
                "candidates": list(self.candidates),
                "n_bags": self.n_bags,
                "n_folds": self.n_folds,
                "random_state": None if seed is None else int(seed),
            },
            "classes": self.classes_.tolist(),
            "by_name": self._by_name,
            "n_features_in": self.n_features_in_,
            "feature_names_in": [str(name) for name in getattr(self, "feature_names_in_", [])],
            "base_rate": self.base_rate_,
            "cv_results": results.to_dict("list"),
            "ensemble": ensemble,
        }
        return state, texts

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given, texts: Mapping[str, str]) -> PropensityClassifier:
        """Rebuild what :meth:`to_state` gave; scores are equal to the last bit.

        Raises
        ------
        BundleError
            If a field is missing or out of range, or a text is missing or unreadable.
        """
        given = classifier_state(state)
        return cls.around(Ensemble.from_state(given["ensemble"], texts), given.value)

    @classmethod
    def around(cls, ensemble: Ensemble, state: Mapping[str, Any]) -> PropensityClassifier:
        """Put the classifier of a state that was checked around its ensemble."""
        params = state["params"]
        model = cls(**{**params, "candidates": tuple(params["candidates"])})
        model.classes_ = np.array(state["classes"])
        model._by_name = bool(state["by_name"])
        model.n_features_in_ = int(state["n_features_in"])
        if state["feature_names_in"]:
            model.feature_names_in_ = np.array(state["feature_names_in"], dtype=object)
        model.base_rate_ = float(state["base_rate"])
        # Models saved by earlier versions have no errors.
        results = pd.DataFrame(state["cv_results"]).reindex(columns=["candidate", *CV_NUMBERS])
        model.cv_results_ = results.astype(dict.fromkeys(CV_NUMBERS, "float64"))
        model._ensemble = ensemble
        model._describe()
        return model
