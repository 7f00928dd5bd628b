"""Monotone constraints: no chance falls with a rising column, in any candidate, whatever the data say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

import icp_ml
from icp_ml.data.schema import Feature, Schema
from icp_ml.errors import ConfigError
from icp_ml.model.candidates import CANDIDATES

SCHEMA = Schema(
    (Feature("employees", "numeric"), Feature("age", "numeric"), Feature("remote", "boolean")),
).directed(rising=["employees"], falling=["remote"])


def against(seed: int, n: int = 600) -> tuple[pd.DataFrame, np.ndarray]:
    """Outcomes that fall with employees and rise with remote: against both directions, in part."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "employees": rng.normal(size=n),
            "age": rng.normal(size=n),
            "remote": (rng.random(n) < 0.5).astype(float),
        }
    )
    wave = np.sin(2.5 * frame["employees"]) + 0.8 * frame["remote"] * frame["age"]
    frame.loc[rng.random(n) < 0.2, "employees"] = np.nan
    return frame, (rng.random(n) < expit(wave - 0.5)).astype(int)


def steepest(
    model: icp_ml.PropensityClassifier, frame: pd.DataFrame, column: str, values: np.ndarray
) -> list:
    """Return the largest rise and fall of the log-odds along a column, all else as in each row."""
    path = np.array([model.decision_function(frame.assign(**{column: value})) for value in values])
    moves = np.diff(path, axis=0)
    return [float(moves.max()), float(moves.min())]


@pytest.mark.parametrize("name", sorted(CANDIDATES))
def test_each_candidate_keeps_to_the_directions(name):
    frame, y = against(1)
    model = icp_ml.PropensityClassifier(candidates=(name,), n_bags=2, n_jobs=1).fit_features(frame, SCHEMA, y)
    probe = frame.head(40)
    rise, fall = steepest(model, probe, "employees", np.linspace(-2, 2, 41))
    assert fall >= -1e-12
    rise, _ = steepest(model, probe, "remote", np.array([0.0, 1.0]))
    assert rise <= 1e-12


def test_without_directions_the_data_decide():
    frame, y = against(1)
    free = Schema(tuple(Feature(f.name, f.kind) for f in SCHEMA.features))
    model = icp_ml.PropensityClassifier(n_bags=2, n_jobs=1).fit_features(frame, free, y)
    assert steepest(model, frame.head(40), "employees", np.linspace(-2, 2, 41))[1] < -0.05


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_the_mixture_keeps_to_the_directions_on_any_data(seed):
    frame, y = against(seed, n=150)
    model = icp_ml.PropensityClassifier(
        candidates=("additive", "deep", "bands", "logistic"), n_bags=1, n_folds=2, n_jobs=1
    ).fit_features(frame, SCHEMA, y)
    assert steepest(model, frame.head(15), "employees", np.linspace(-3, 3, 25))[1] >= -1e-12


def test_directions_reach_a_model_through_train_and_its_bundle(tmp_path):
    frame, y = against(2)
    frame = frame.assign(account_id=[f"a{i}" for i in range(len(frame))], stays=y.astype(bool))
    dataset = icp_ml.Dataset.from_frame(frame, account_id="account_id", labels={"retained": "stays"})
    model = icp_ml.train(dataset, profile=False, n_jobs=1, rising=["employees"])
    icp_ml.save(model, tmp_path / "bundle")
    again = icp_ml.load(tmp_path / "bundle")
    assert [feature.direction for feature in again.schema.features if feature.name == "employees"] == [1]
    moved = steepest(
        again.propensities["retained"], dataset.features.head(30), "employees", np.linspace(-2, 2, 31)
    )
    assert moved[1] >= -1e-12
    assert "direction" not in dataset.schema.to_dict()["features"][0]


@pytest.mark.parametrize(("rising", "falling"), [(["nobody"], []), (["industry"], []), (["size"], ["size"])])
def test_directions_of_what_has_none_are_refused(rising, falling):
    schema = Schema((Feature("size", "numeric"), Feature("industry", "category")))
    with pytest.raises(ConfigError, match="choose among"):
        schema.directed(rising=rising, falling=falling)
