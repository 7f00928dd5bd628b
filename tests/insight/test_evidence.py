from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from icp_ml.data.schema import Feature, Schema
from icp_ml.insight.candidates import Design, build_design
from icp_ml.insight.evidence import crossfit
from icp_ml.insight.examine import examine, joint_q, measure, search_target
from icp_ml.insight.lifts import count, held_out_memberships, lifts
from icp_ml.insight.riskset import Outcome, build_outcome
from icp_ml.simulation import make_frame
from tests.insight.conftest import as_dataset

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]


def noise(n: int, seed: int) -> tuple[pd.DataFrame, Schema, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.lognormal(size=n),
            "z": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            "many": rng.choice([f"L{i:02d}" for i in range(25)], n),
            "few": rng.choice(["a", "b", "c"], n),
            "flag": (rng.random(n) < 0.1).astype(float),
        }
    )
    kinds = {"x": "numeric", "z": "numeric", "many": "category", "few": "category", "flag": "boolean"}
    schema = Schema(tuple(Feature(name, kind) for name, kind in kinds.items()))  # type: ignore[arg-type]
    return frame, schema, (rng.random(n) < 0.8).astype(float)


def parts(n: int, seed: int, repeats: int = 1) -> tuple[Design, Outcome]:
    frame, schema, y = noise(n, seed)
    account = np.repeat(np.arange(n), repeats)
    rows = frame.iloc[account].reset_index(drop=True)
    date = np.tile(np.arange(repeats), n)
    return build_design(rows, schema, account), build_outcome(account, y[account], date)


def test_noise_hardly_ever_becomes_a_trait() -> None:
    found = 0
    for seed in range(20):
        base = make_frame(150, seed=31_000 + seed, signal="null", churn=0.3, n_tools=40, n_nulls=6)
        found += bool(len(examine(as_dataset(base), "retained", seed=seed, n_permutations=600).confirmed))
    # 20 worlds at a true rate of 0.10: more than 5 has a chance of 1 %
    assert found <= 5


def test_p_values_are_uniform_on_noise_of_every_type() -> None:
    values = np.concatenate(
        [crossfit(*parts(150, s), n_permutations=199, seed=s).p_values for s in range(60)]
    )
    for level in (0.05, 0.2):
        slack = 3 * np.sqrt(level * (1 - level) / len(values))
        assert (values <= level).mean() <= level + slack
    assert (values <= 0.5).mean() > 0.35


def test_repeated_snapshots_add_no_evidence() -> None:
    once, often = parts(200, 7), parts(200, 7, repeats=8)
    one = crossfit(*once, n_permutations=1000, seed=1)
    many = crossfit(*often, n_permutations=1000, seed=1)
    assert often[1].clustering == pytest.approx(8.0)
    assert np.allclose(one.statistic, many.statistic, rtol=0.02, atol=0.02)
    # 200 draws or more behind each: two standard errors of .05 and a little
    assert np.abs(one.p_values - many.p_values).max() < 0.12
    a, b = (
        lifts(o, count(d, o), held_out_memberships(d, f, count(d, o)))
        for (d, o), f in ((once, one), (often, many))
    )
    assert np.allclose(a.raw, b.raw)
    assert np.allclose(a.error, b.error)


def test_the_fold_left_out_has_no_say_in_its_own_condition() -> None:
    design, outcome = parts(300, 3)
    before = crossfit(design, outcome, n_permutations=1, seed=5)
    rng = np.random.default_rng(0)
    changed = outcome.event.copy()
    inside = np.flatnonzero(before.folds[0] == 2)
    changed[inside] = changed[rng.permutation(inside)]
    other = replace(outcome, event=changed)
    after = crossfit(design, other, n_permutations=1, seed=5)
    same = [
        [np.array_equal(a.found[k].bins, b.found[k].bins) for k in range(5)]
        for a, b in ((_Picks(before, j), _Picks(after, j)) for j in range(len(design.candidates)))
    ]
    assert all(row[2] for row in same)
    assert not all(all(row) for row in same)


class _Picks:
    def __init__(self, fit: object, j: int) -> None:
        self.found = fit.found[j]  # type: ignore[attr-defined]


def test_lifts_come_from_accounts_that_did_not_find_the_condition() -> None:
    apart, same = [], []
    for seed in range(15):
        design, outcome = parts(200, 100 + seed)
        fit = crossfit(design, outcome, n_permutations=1, seed=seed)
        counts = count(design, outcome)
        j = [c.feature for c in design.candidates].index("many")
        members = held_out_memberships(design, fit, counts)
        sign = fit.final[j].direction
        apart.append(sign * lifts(outcome, counts, members).raw[j])
        held = counts.held[:, design.bins_of(j)] @ fit.final[j].bins
        same.append(sign * ((held * outcome.y).sum() / held.sum() - outcome.y.mean()))
    # on noise the accounts that found the group of levels show a large lift, the others next to none
    assert np.mean(same) > 0.04
    assert np.mean(apart) < 0.4 * np.mean(same)


def test_tenures_are_joined_until_there_is_somebody_to_be_compared_with() -> None:
    date = np.array([0] * 45 + [1] * 30)
    tenure = np.concatenate([np.repeat([0.0, 100.0, 200.0, 900.0], [10, 15, 5, 15]), np.full(30, 50.0)])
    outcome = build_outcome(np.arange(75), np.zeros(75), date, tenure=tenure)
    assert np.bincount(outcome.stratum).tolist() == [25, 20, 30]
    # never across days, however few there are
    few = build_outcome(np.arange(30), np.zeros(30), np.array([0] * 27 + [1] * 3))
    assert np.bincount(few.stratum).tolist() == [27, 3]


def test_a_target_of_noise_makes_the_other_pay() -> None:
    base = make_frame(400, seed=32_000, signal="strong", n_tools=40, n_nulls=6)
    dataset = as_dataset(base)
    searched = search_target(dataset, "retained", seed=0, n_permutations=1000)
    alone = joint_q([searched], 0.1)[0]
    rng = np.random.default_rng(1)
    labels = dataset.labels.assign(expanded=pd.array(rng.random(len(dataset)) < 0.5, dtype="boolean"))
    shuffled = type(dataset)(dataset.features, labels, dataset.schema, dataset.groups)
    other = search_target(shuffled, "expanded", seed=0, n_permutations=1000)
    assert joint_q([other], 0.1)[0].min() > 0.1
    both = joint_q([searched, other], 0.1)
    assert np.allclose(both[0], np.minimum(2 * alone, 1.0))
    assert not len(measure(other, both[1], seed=0).confirmed)


def test_a_trait_must_hold_on_accounts_that_did_not_find_it() -> None:
    base = make_frame(400, seed=32_001, signal="strong", n_tools=40, n_nulls=6)
    searched = search_target(as_dataset(base), "retained", seed=0, n_permutations=1000)
    q_values = joint_q([searched], 0.1)[0]
    confirmed = measure(searched, q_values, seed=0).confirmed
    assert len(confirmed) >= 2
    held_out = searched.fit.held_out.copy()
    held_out[confirmed[0]] = 1.64
    doubted = replace(searched, fit=replace(searched.fit, held_out=held_out))
    assert measure(doubted, q_values, seed=0).confirmed.tolist() == confirmed[1:].tolist()


def test_what_is_found_in_noise_does_not_hold_on_other_accounts() -> None:
    values = np.concatenate([crossfit(*parts(150, s), n_permutations=1, seed=s).held_out for s in range(80)])
    assert values.mean() < 0.2
    assert (values >= 1.645).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / values.size)


def test_the_mean_evidence_of_one_condition_is_its_own() -> None:
    design, outcome = parts(300, 3)
    fit = crossfit(design, outcome, n_permutations=1, seed=5)
    j = [c.feature for c in design.candidates].index("flag")
    held = count(design, outcome).held[:, design.bins_of(j)][:, 0]
    centred = held - held.mean()
    z2 = (centred @ outcome.residual) ** 2 / ((centred**2).sum() * outcome.residual.var(ddof=1))
    assert np.isclose(fit.statistic[j], 0.5 * 0.3 * z2)
