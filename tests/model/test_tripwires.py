"""The tripwires that fit a model, and the watch that every training stands."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import icp_ml as icp
from icp_ml.data.leakage import measure
from icp_ml.model import tripwires
from icp_ml.model.tripwires import find_jumps, noise_canary, shuffled_outcomes, watch

N = 400


def dataset_of(n_noise: int = 4, **columns: Any) -> icp.Dataset:
    rng = np.random.default_rng(11)
    size = rng.normal(size=N)
    frame = pd.DataFrame({"id": [f"a{k:04d}" for k in range(N)], "size": size})
    frame["kept"] = rng.random(N) < 1 / (1 + np.exp(-1.0 - size))
    frame["place"] = rng.choice(["x", "y", "z"], N)
    for k in range(n_noise):
        frame[f"noise_{k}"] = rng.normal(size=N)
    for name, weight in columns.items():
        frame[name] = weight * frame["kept"] + rng.normal(size=N)
    return icp.Dataset.from_frame(frame, account_id="id", labels={"retained": "kept"})


def test_an_honest_base_passes_unchanged() -> None:
    dataset = dataset_of()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept, found = watch(dataset)
    assert kept is dataset
    assert {f.severity for f in found} == {"note"}
    assert {f.wire for f in found} == {"jump", "shuffle", "canary"}


def test_a_quarantined_column_is_out_of_the_fit_and_in_the_facts() -> None:
    dataset = dataset_of(churn_signal=1.4)
    with pytest.warns(icp.LeakageWarning, match="left 1 of 7 columns .*churn_signal"):
        model = icp.train(dataset, profile=False, n_jobs=1)
    assert "churn_signal" not in model.schema.names
    worst = model.facts["tripwires"][0]
    assert (worst["column"], worst["wire"], worst["severity"]) == ("churn_signal", "name", "quarantine")
    assert model.facts["dataset_fingerprint"] == dataset.fingerprint()
    scores = model.score(dataset.features.head(5), reasons=1)
    assert scores["p_retained"].between(0, 1).all()


def test_an_allowed_column_stays_and_is_not_spoken_of() -> None:
    dataset = dataset_of(churn_signal=1.4)
    kept, found = watch(dataset, allow=["churn_signal"])
    assert kept is dataset
    assert "churn_signal" not in {f.column for f in found}


def test_a_copy_is_refused_before_any_fit() -> None:
    with pytest.raises(icp.LeakageError, match="flag"):
        watch(dataset_of(flag=9.0))


def test_a_column_on_which_everything_hangs_is_noted() -> None:
    dataset = dataset_of(call_length=1.6)
    (found,) = find_jumps(dataset, "retained", measure(dataset), skip=set())
    assert (found.column, found.severity) == ("call_length", "note")
    assert found.evidence >= 0.10
    skipped = find_jumps(dataset, "retained", measure(dataset), skip={"call_length"})
    assert "call_length" not in {f.column for f in skipped}


def test_shuffled_outcomes_stay_in_their_interval_unless_folds_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dataset_of()
    (honest,) = shuffled_outcomes(dataset, "retained")
    assert "within" in honest.sentence
    assert abs(honest.evidence - 0.5) < 0.13

    def peeking(base: Any, y: Any, folds: Any) -> Any:
        return y + np.random.default_rng(0).normal(size=len(y))

    monkeypatch.setattr(tripwires, "_out_of_fold", peeking)
    (leaky,) = shuffled_outcomes(dataset, "retained")
    assert "outside" in leaky.sentence


def test_groups_keep_their_outcomes_when_these_are_shuffled() -> None:
    dataset = dataset_of()
    twice = icp.Dataset(
        pd.concat([dataset.features, dataset.features], ignore_index=True),
        pd.concat([dataset.labels, dataset.labels], ignore_index=True),
        dataset.schema,
        np.concatenate([dataset.groups, dataset.groups]),
    )
    base = tripwires._base(twice, "retained", 0)
    assert base is not None
    y = tripwires._shuffle(base)
    assert (y[: N // 2] != base.y[: N // 2]).any()
    assert y.sum() == base.y.sum()
    assert all(len(set(y[base.codes == code])) == 1 for code in range(N))


def test_noise_among_the_first_ten_is_said() -> None:
    (found,) = noise_canary(dataset_of(n_noise=6), "retained")
    assert found.wire == "canary"
    assert 1 < found.evidence <= 8
    assert "of 9 for retained" in found.sentence
    assert noise_canary(dataset_of(n_noise=0, **{f"good_{k}": 0.9 for k in range(12)}), "retained") == []
