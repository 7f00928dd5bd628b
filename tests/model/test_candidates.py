"""Deeper trees as members of a model: looked up in tables, one path whatever the number of rows."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import lightgbm
import numpy as np
import pytest

from icp_ml.errors import BundleError
from icp_ml.model.candidates import CANDIDATES
from icp_ml.model.estimator import booster_from_text, booster_to_text, fit_booster
from icp_ml.model.fasttree import bags
from icp_ml.model.fasttree.parse import Forest
from icp_ml.model.members import TreeMember, member_from_state
from tests.model.bases import look_up

BAGS = 3


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    X = np.random.default_rng(0).normal(size=(700, 6))
    X[::7, 1] = np.nan
    X[:, 2] = np.round(X[:, 2])
    return X


@pytest.fixture(scope="module")
def texts(rows: np.ndarray) -> tuple[str, ...]:
    y = (np.nan_to_num(rows[:, 0] * rows[:, 1]) + rows[:, 2] > 0).astype(float)
    params = CANDIDATES["shallow"].params
    assert params is not None
    return tuple(booster_to_text(fit_booster(rows, y, params, seed, 40)) for seed in range(BAGS))


def test_contributions_are_those_of_lightgbm(rows, texts):
    member = TreeMember(texts)
    boosters = [booster_from_text(text) for text in texts]
    wanted = np.mean([booster.predict(rows, pred_contrib=True, num_threads=1) for booster in boosters], 0)
    raw = np.array([booster.predict(rows, raw_score=True, num_threads=1) for booster in boosters])
    parts = look_up(member, rows)[2]
    np.testing.assert_allclose(parts, wanted[:, :-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(member.base, wanted[0, -1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(member.raw_bags(rows), raw, rtol=0, atol=1e-12)
    np.testing.assert_allclose(member.base + parts.sum(axis=1), member.raw(rows), rtol=0, atol=1e-12)


def test_pruned_trees_leave_luck_unsplit(rows):
    luck = (np.random.default_rng(1).random(700) < 0.3).astype(float)
    leaves = {}
    for name in ("deep", "pruned"):
        params = CANDIDATES[name].for_rows(700).params
        assert params is not None
        trees = fit_booster(rows, luck, params, 0, 60).dump_model()["tree_info"]
        leaves[name] = np.mean([tree["num_leaves"] for tree in trees])
    assert leaves["pruned"] < 0.6 * leaves["deep"]


@pytest.mark.parametrize(("n_rows", "share"), [(3_000, 0.5), (3_001, 0.8)])
def test_deep_trees_see_more_columns_where_rows_are_many(n_rows, share):
    fitted = CANDIDATES["deep"].for_rows(n_rows).params
    assert fitted is not None
    assert fitted["feature_fraction"] == share


def test_one_pass_gives_the_same_bits_as_two_and_in_any_order_of_memory(rows, texts):
    member = TreeMember(texts)
    raw, bags, parts = look_up(member, rows)
    np.testing.assert_array_equal(raw, member.raw(rows))
    np.testing.assert_array_equal(bags, member.raw_bags(rows))
    for one, other in zip(look_up(member, np.asfortranarray(rows)), (raw, bags, parts), strict=True):
        np.testing.assert_array_equal(one, other)


def test_lightgbm_predicts_nothing_once_the_tables_are_there(rows, texts, monkeypatch):
    member = TreeMember(texts)
    before = member.raw(rows[:1]), look_up(member, rows[:1])[2]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("LightGBM was asked")

    monkeypatch.setattr(lightgbm.Booster, "predict", refuse)
    for n in (1, 30, len(rows)):
        assert member.raw(rows[:n])[0] == before[0][0]
        np.testing.assert_array_equal(look_up(member, rows[:n])[2][0], before[1][0])


def test_a_row_alone_gives_the_bits_it_gives_in_the_crowd(rows, texts):
    member = TreeMember(texts)
    raw, bags, parts = look_up(member, rows)
    for i in range(0, len(rows), 29):
        np.testing.assert_array_equal(member.raw(rows[[i]]), raw[[i]])
        np.testing.assert_array_equal(member.raw_bags(rows[[i]]), bags[:, [i]])
        np.testing.assert_array_equal(look_up(member, rows[[i]])[2], parts[[i]])


def test_tables_are_made_once_by_many_threads_and_stored_nowhere(rows, texts, monkeypatch):
    made = []

    class Counted(bags.BaggedTrees):
        def __init__(self, forests: list[Forest]) -> None:
            made.append(len(forests))
            super().__init__(forests)

    monkeypatch.setattr(bags, "BaggedTrees", Counted)
    member = TreeMember(texts)
    assert not made
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(member.raw, [rows] * 8))
    assert made == [len(texts)]
    assert all((one == found[0]).all() for one in found)
    state, own = member.to_state()
    assert json.loads(json.dumps(state)) == {"kind": "trees"}
    assert tuple(own) == texts
    np.testing.assert_array_equal(member_from_state(state, own).raw(rows), found[0])
    copied = pickle.loads(pickle.dumps(member))
    assert len(pickle.dumps(member)) < 1.1 * sum(map(len, texts))
    np.testing.assert_array_equal(copied.raw(rows), found[0])


def test_a_text_that_is_no_model_is_refused_when_it_is_read():
    with pytest.raises(BundleError):
        member_from_state({"kind": "trees"}, ["no trees"])


def test_bounds_are_looked_for_where_trees_have_too_few_rows_to_find_them():
    assert CANDIDATES["bounded"].is_worth(20_000)
    assert not CANDIDATES["bounded"].is_worth(20_001)
