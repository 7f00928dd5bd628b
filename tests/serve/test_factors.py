"""The factor model: kernel and numpy give the same bits, and those solve the normal equations."""

from __future__ import annotations

import numpy as np
import pytest

from icp_ml.model import contributions
from icp_ml.serve import factors
from icp_ml.serve.factors import Factors, Groups


@pytest.fixture
def sample() -> tuple[Factors, np.ndarray]:
    rng = np.random.default_rng(0)
    loadings = 0.4 * rng.normal(size=(30, 5))
    z = rng.normal(size=(300, 5)) @ loadings.T + rng.normal(size=(300, 30))
    z[rng.random(z.shape) < 0.25] = np.nan
    z[0] = np.nan
    return Factors(loadings, 0.3 + rng.random(30)), z


def test_scores_solve_the_normal_equations(sample: tuple[Factors, np.ndarray]) -> None:
    model, z = sample
    scores = model.scores(z)
    for row in (0, 1, 77):
        known = np.isfinite(z[row])
        weighted = model.loadings[known].T / model.unique[known]
        wanted = np.linalg.solve(np.eye(5) + weighted @ model.loadings[known], weighted @ z[row, known])
        np.testing.assert_allclose(scores[row], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_kernel_and_numpy_give_the_same_bits(
    sample: tuple[Factors, np.ndarray], order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, z = sample
    along, off = model.measure(z)
    monkeypatch.setattr(contributions, "KERNEL_ROWS", 1)
    found = model.measure(np.asarray(z, order=order))
    np.testing.assert_array_equal(found, (along, off))
    for row in range(0, 300, 60):
        np.testing.assert_array_equal(np.ravel(model.measure(z[[row]])), (along[row], off[row]))


def grouped(model: Factors, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, Groups]:
    """Return coordinates of which the last ten are known in two groups of five, one by one and grouped."""
    whole, known, grams = z.copy(), [], []
    sums = np.zeros((model.loadings.shape[1] + 2, len(z)))
    for at in (np.arange(20, 25), np.arange(25, 30)):
        is_known = np.isfinite(z[:, at[0]])
        whole[:, at] = np.where(is_known[:, None], np.nan_to_num(z[:, at], nan=0.5), np.nan)
        sums += np.where(is_known, model.sums(np.nan_to_num(whole[:, at]), at).T, 0.0)
        known.append(is_known)
        grams.append(model.gram(at))
    return whole, whole[:, :20], Groups(np.array(known), np.array(grams), sums)


def test_coordinates_known_together_may_be_added_up_before(sample: tuple[Factors, np.ndarray]) -> None:
    whole, first, groups = grouped(*sample)
    wanted = sample[0].measure(whole)
    np.testing.assert_allclose(sample[0].measure(first, groups), wanted, rtol=0, atol=1e-10)


def test_kernel_and_numpy_give_the_same_bits_with_groups(
    sample: tuple[Factors, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first, groups = grouped(*sample)
    by_numpy = sample[0].measure(first, groups)
    monkeypatch.setattr(contributions, "KERNEL_ROWS", 1)
    monkeypatch.setattr(factors, "CHUNK", 128)
    np.testing.assert_array_equal(sample[0].measure(first, groups), by_numpy)


def test_without_factors_or_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contributions, "KERNEL_ROWS", 1)
    bare = Factors(np.zeros((3, 0)), np.ones(3))
    np.testing.assert_array_equal(bare.measure(np.ones((4, 3))), np.zeros((2, 4)))
    assert bare.measure(np.ones((0, 3)))[0].shape == (0,)
