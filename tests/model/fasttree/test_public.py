"""What the class promises: inputs, refusals, top lists, backgrounds, budgets, and numpy in numba's place."""

from __future__ import annotations

import builtins
import importlib
import itertools
import math
import warnings
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import icp_ml
from icp_ml import FastTreeContributions
from icp_ml.errors import ConfigError, InputMismatchError, MissingDependencyError
from icp_ml.model.fasttree import engine, public

from .boosters import KINDS, N_FEATURES, expected, make_rows, make_target, odd_rows, train

N = 70


@pytest.fixture(scope="module")
def booster() -> Any:
    return train({"num_leaves": 20}, rounds=15, seed=3)


@pytest.fixture(scope="module")
def shap() -> Any:
    with warnings.catch_warnings():
        # shap's import uses what matplotlib is about to deprecate; that isn't ours to repair.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return importlib.import_module("shap")


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    return np.vstack([make_rows(N, 11), odd_rows(11)])


@pytest.fixture(scope="module")
def fast(booster: Any) -> FastTreeContributions:
    return FastTreeContributions(booster)


def test_a_block_of_more_rows_than_a_tile_is_done_to_its_end(booster: Any) -> None:
    rows = np.tile(make_rows(500, 12), (20, 1))
    found = FastTreeContributions(booster, backend="numba").contributions(rows)
    np.testing.assert_array_equal(found, np.tile(found[:500], (20, 1)))
    np.testing.assert_allclose(found[:500], expected(booster, rows[:500]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("max_table_mb", [256, 0.01, 0])
@pytest.mark.parametrize("kind", ["deep", "big_categories", "zero_as_missing"])
def test_the_memory_budget_changes_no_value(kind: str, max_table_mb: float, X: np.ndarray) -> None:
    booster = train(KINDS[kind], seed=5)
    wanted = expected(booster, X)
    for backend in ("numba", "numpy"):
        fast = FastTreeContributions(booster, max_table_mb=max_table_mb, backend=backend)
        assert fast._compiled.plan.table_bytes <= max_table_mb * 2**20
        np.testing.assert_allclose(fast.contributions(X), wanted, rtol=0, atol=1e-10)
    if max_table_mb == 0:
        assert not fast._compiled.packed.groups


def test_leaves_wider_than_a_table_are_exact() -> None:
    """64 leaves in one line: paths of up to 40 distinct features."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 40))
    y = (X > 1.2).any(axis=1) * 1.0 + X.max(axis=1)
    booster = lightgbm.train(
        {"num_leaves": 63, "min_data_in_leaf": 2, "num_threads": 1, "verbosity": -1, "feature_fraction": 0.5},
        lightgbm.Dataset(X, label=y, params={"num_threads": 1}),
        num_boost_round=5,
    )
    fast = FastTreeContributions(booster)
    assert max(len(leaf.features) for leaf in fast._compiled.packed.wide) > 12
    np.testing.assert_allclose(fast.contributions(X), expected(booster, X), rtol=0, atol=1e-10)


def test_more_than_256_bins_use_wider_codes() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 2))
    booster = lightgbm.train(
        {"num_leaves": 31, "min_data_in_leaf": 1, "max_bin": 2000, "num_threads": 1, "verbosity": -1},
        lightgbm.Dataset(X, label=np.sin(9 * X[:, 0]) + X[:, 1], params={"num_threads": 1, "max_bin": 2000}),
        num_boost_round=30,
    )
    fast = FastTreeContributions(booster)
    assert fast._compiled.packed.binner.code_dtype == np.uint16
    np.testing.assert_allclose(fast.contributions(X), expected(booster, X), rtol=0, atol=1e-10)


def test_a_constant_model_has_only_a_base_value() -> None:
    X = make_rows(50, 0)
    booster = lightgbm.train(
        {"num_threads": 1, "verbosity": -1}, lightgbm.Dataset(X, label=np.full(50, 3.0)), num_boost_round=2
    )
    fast = FastTreeContributions(booster)
    np.testing.assert_allclose(fast.contributions(X), expected(booster, X), rtol=0, atol=1e-12)
    assert (fast.top(X, 2).positive == -1).all()


@pytest.mark.parametrize("k", [1, 3, N_FEATURES + 2])
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_top_is_the_sorted_full_matrix(booster: Any, X: np.ndarray, k: int, backend: Any) -> None:
    fast = FastTreeContributions(booster, backend=backend)
    full, top = fast.contributions(X), fast.top(X, k)
    np.testing.assert_allclose(top.raw, full.sum(axis=1), rtol=0, atol=1e-12)
    for sign, columns, values in (
        (1, top.positive, top.positive_values),
        (-1, top.negative, top.negative_values),
    ):
        for row in range(len(X)):
            signed = sign * full[row, :-1]
            order = [j for j in np.argsort(-signed, kind="stable") if signed[j] > 0][:k]
            wanted = order + [-1] * (k - len(order))
            assert columns[row].tolist() == wanted
            np.testing.assert_array_equal(values[row, : len(order)], full[row, order])
            assert not values[row, len(order) :].any()


def test_numpy_gives_what_numba_gives(booster: Any, X: np.ndarray) -> None:
    one = FastTreeContributions(booster, backend="numba").contributions(X)
    other = FastTreeContributions(booster, backend="numpy").contributions(X)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


def test_without_numba_numpy_is_taken(booster: Any, X: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = FastTreeContributions(booster).contributions(X)
    for module in (engine, public):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    fast = FastTreeContributions(booster)
    assert fast._engine.__name__.endswith("plain")
    np.testing.assert_allclose(fast.contributions(X), wanted, rtol=0, atol=1e-13)
    with pytest.raises(MissingDependencyError, match="numba"):
        FastTreeContributions(booster, backend="numba")
    with pytest.raises(MissingDependencyError, match="shap"):
        fast.explanation(X)


def test_threads_and_blocks_change_no_bit(booster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    X = make_rows(3000, 1)
    wanted = FastTreeContributions(booster).contributions(X)
    monkeypatch.setattr(engine, "MAX_BLOCK", 700)
    fast = FastTreeContributions(booster, n_jobs=2)
    np.testing.assert_array_equal(fast.contributions(X), wanted)
    np.testing.assert_array_equal(fast.contributions(X[1234:1235]), wanted[1234:1235])


def test_the_text_of_a_model_is_enough(fast: FastTreeContributions, booster: Any, X: np.ndarray) -> None:
    text = FastTreeContributions(booster.model_to_string())
    np.testing.assert_array_equal(text.contributions(X), fast.contributions(X))
    np.testing.assert_array_equal(text.top(X, 3).positive, fast.top(X, 3).positive)
    with pytest.raises(InputMismatchError, match="text of a LightGBM model"):
        FastTreeContributions("tree")


def test_every_kind_of_matrix_gives_the_same(fast: FastTreeContributions, booster: Any) -> None:
    X = np.nan_to_num(make_rows(60, 2)).astype(np.float32)
    wanted = expected(booster, X)
    for same in (X, X.astype(float), np.asfortranarray(X), X[::1, :], sparse.csr_matrix(X), pd.DataFrame(X)):
        np.testing.assert_allclose(fast.contributions(same), wanted, rtol=0, atol=1e-10)


def test_frames_with_categories_are_read_as_in_training() -> None:
    X = make_rows(400, 0)
    frame = pd.DataFrame({f"f {i}": X[:, i] for i in range(6)})
    names = np.array(["nil", "one", "two", "three", "four", "five", "six"])
    frame["kind"] = pd.Categorical(names[np.nan_to_num(X[:, 7]).astype(int)])
    model = lightgbm.LGBMClassifier(
        n_estimators=8, num_leaves=8, verbosity=-1, n_jobs=1, min_data_per_group=5
    )
    model.fit(frame, make_target(X, 0))
    fast = FastTreeContributions(model)
    part = frame.tail(40).assign(kind=lambda own: own["kind"].cat.remove_unused_categories().astype(object))
    part["kind"] = pd.Categorical(part["kind"].where(part["kind"] != "six", "unseen"))
    np.testing.assert_allclose(
        fast.contributions(part), model.predict(part, pred_contrib=True), rtol=0, atol=1e-10
    )
    with pytest.raises(InputMismatchError, match="order of training"):
        fast.contributions(frame[frame.columns[::-1]])
    with pytest.raises(InputMismatchError, match="1 category columns, found 0"):
        fast.contributions(frame.assign(kind=1.0))
    with pytest.raises(InputMismatchError, match="other types"):
        fast.contributions(frame.assign(**{"f 0": "a"}))


def test_no_rows_give_no_rows(fast: FastTreeContributions) -> None:
    none = np.empty((0, N_FEATURES))
    assert fast.contributions(none).shape == (0, N_FEATURES + 1)
    assert fast.top(none, 3).positive.shape == (0, 3)
    assert fast.predict_raw(none).shape == (0,)


def test_early_stopped_models_use_their_best_iteration(X: np.ndarray) -> None:
    booster = train({}, rounds=20)
    booster.best_iteration = 7
    np.testing.assert_allclose(
        FastTreeContributions(booster).contributions(X), expected(booster, X), atol=1e-10
    )


def test_what_cannot_be_explained_is_refused(
    fast: FastTreeContributions, booster: Any, X: np.ndarray
) -> None:
    with pytest.raises(InputMismatchError, match="expected a matrix with 8 columns, found shape"):
        fast.contributions(X[:, :3])
    with pytest.raises(InputMismatchError, match="numbers"):
        fast.contributions(X.astype(str))
    with pytest.raises(InputMismatchError, match="found dict"):
        FastTreeContributions({})
    with pytest.raises(InputMismatchError, match="background"):
        FastTreeContributions(train({}, seed=1, rounds=2), background=X[:0])
    for wrong in ({"dtype": "float16"}, {"n_jobs": 0}, {"backend": "gpu"}):
        with pytest.raises(ConfigError):
            FastTreeContributions(booster, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fast.top(X, 0)


def test_models_without_exact_contributions_are_refused() -> None:
    X = np.nan_to_num(make_rows(300, 0))
    own = {"num_threads": 1, "verbosity": -1}
    linear = lightgbm.train(
        {**own, "linear_tree": True}, lightgbm.Dataset(X, label=X[:, 0], params={"linear_tree": True}), 2
    )
    with pytest.raises(InputMismatchError, match="linear"):
        FastTreeContributions(linear)
    many = lightgbm.train(
        {**own, "objective": "multiclass", "num_class": 3}, lightgbm.Dataset(X, X[:, 7] % 3), 2
    )
    with pytest.raises(InputMismatchError, match="multiclass"):
        FastTreeContributions(many)


def test_a_booster_that_says_otherwise_is_refused(booster: Any) -> None:
    class Other:
        def model_to_string(self) -> str:
            return booster.model_to_string()

        def predict(self, X: np.ndarray, **_: object) -> np.ndarray:
            return expected(booster, X) + 1e-3

    with pytest.raises(InputMismatchError, match="found 0.001 beside them"):
        FastTreeContributions(Other())


def brute_force(booster: Any, x: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Shapley's own sum over all sets of features."""
    p = len(x)
    worth = {}
    for size in range(p + 1):
        for known in itertools.combinations(range(p), size):
            rows = background.copy()
            rows[:, known] = x[list(known)]
            worth[known] = float(booster.predict(rows, raw_score=True, num_threads=1).mean())
    phi = np.zeros(p)
    for known, value in worth.items():
        for j in set(range(p)) - set(known):
            share = math.factorial(len(known)) * math.factorial(p - len(known) - 1) / math.factorial(p)
            phi[j] += share * (worth[tuple(sorted((*known, j)))] - value)
    return phi


@pytest.mark.parametrize("max_table_mb", [256, 0])
def test_interventional_is_shapleys_sum_also_on_categories(max_table_mb: float) -> None:
    booster = train({"num_leaves": 10}, seed=2, rounds=5)
    X, background = make_rows(3, 8), make_rows(25, 9)
    fast = FastTreeContributions(booster, max_table_mb=max_table_mb, background=background)
    found = fast.contributions(X)
    for row, x in zip(found, X, strict=True):
        np.testing.assert_allclose(row[:-1], brute_force(booster, x, background), rtol=0, atol=1e-11)
    raw = booster.predict(X, raw_score=True, num_threads=1)
    np.testing.assert_allclose(found.sum(axis=1), raw, rtol=0, atol=1e-12)
    np.testing.assert_allclose(fast.predict_raw(X), raw, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(fast.top(X, 1).raw, fast.predict_raw(X))


def test_interventional_equals_shap_on_numeric_models(shap: Any) -> None:
    booster = train({"num_leaves": 12}, seed=4, native=False)
    X, background = make_rows(20, 8), make_rows(60, 9)
    explainer = shap.TreeExplainer(booster, background, feature_perturbation="interventional")
    found = FastTreeContributions(booster, background=background).contributions(X)
    np.testing.assert_allclose(found[:, :-1], explainer.shap_values(X), rtol=0, atol=1e-7)
    np.testing.assert_allclose(found[:, -1], explainer.expected_value, rtol=0, atol=1e-12)


def test_an_explanation_is_what_shap_plots_take(
    fast: FastTreeContributions, X: np.ndarray, shap: Any
) -> None:
    explanation = fast.explanation(X)
    assert isinstance(explanation, shap.Explanation)
    assert explanation.feature_names == list(fast.feature_names)
    total = explanation.values.sum(axis=1) + explanation.base_values
    np.testing.assert_allclose(total, fast.predict_raw(X), rtol=0, atol=1e-12)


def test_one_call_explains_a_booster(booster: Any, X: np.ndarray) -> None:
    frame = pd.DataFrame(X, index=np.arange(len(X)) + 5)
    found = icp_ml.contributions(booster, frame)
    assert list(found.columns) == [*booster.feature_name(), "base_value"]
    assert found.index.equals(frame.index)
    np.testing.assert_allclose(found.to_numpy(), expected(booster, X), rtol=0, atol=1e-10)


def test_numba_is_imported_only_when_needed(monkeypatch: pytest.MonkeyPatch, booster: Any) -> None:
    real = builtins.__import__
    seen = []

    def watch(name: str, *args: Any, **kwargs: Any) -> Any:
        seen.append(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", watch)
    FastTreeContributions(booster, backend="numpy")
    assert "numba" not in seen
