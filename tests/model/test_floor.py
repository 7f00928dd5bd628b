"""What is kept of accounts belongs to five of them at least: levels, tools, numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icp_ml.data.floor import FLOOR, accounts_per_code, grouped_numbers
from icp_ml.data.schema import Feature, Schema
from icp_ml.insight.candidates import build_design
from icp_ml.model.columns import read_columns
from icp_ml.model.encoding import Encoder
from icp_ml.serve.margins import LevelMargin, NumberMargin, ToolMargin
from icp_ml.serve.reference import seen_values

STAGES, STACK = Feature("stage", "category"), Feature("stack", "technologies")


@pytest.mark.parametrize("snapshots", [1, 4])
@pytest.mark.parametrize("kind", ["even", "heavy", "counts", "tied"])
def test_every_number_that_is_kept_stands_for_five_accounts(kind: str, snapshots: int) -> None:
    rng = np.random.default_rng(4)
    n = 300
    accounts = np.repeat(np.arange(n), snapshots)
    values = {
        "even": rng.random(n * snapshots),
        "heavy": rng.lognormal(0, 3, n * snapshots),
        "counts": rng.geometric(0.02, n * snapshots).astype(float),
        "tied": np.repeat(rng.integers(0, 80, n).astype(float), snapshots),
    }[kind]
    values[::17] = np.nan
    kept = grouped_numbers(values, accounts)
    assert (np.isnan(kept) == np.isnan(values)).all()
    known = np.isfinite(values)
    for value in np.unique(kept[known]):
        assert len(np.unique(accounts[kept == value])) >= FLOOR
    order = np.argsort(values[known], kind="stable")
    assert (np.diff(kept[known][order]) >= 0).all()
    assert (
        np.corrcoef(np.argsort(np.argsort(values[known])), np.argsort(np.argsort(kept[known])))[0, 1] > 0.95
    )


def test_an_extreme_account_moves_nothing() -> None:
    values = np.random.default_rng(1).lognormal(3, 1, 200)
    accounts = np.arange(200)
    extreme = np.where(values == values.max(), 8.7e300, values)
    assert grouped_numbers(extreme, accounts).tolist() == grouped_numbers(values, accounts).tolist()


def test_a_column_of_four_accounts_is_unknown_and_one_of_yes_and_no_stays() -> None:
    few = np.array([1.5, 2.5, 3.5, 4.5, np.nan, np.nan])
    assert np.isnan(grouped_numbers(few, np.arange(6))).all()
    answers = np.array([1.0, 0.0, 0.0, np.nan])
    assert grouped_numbers(answers, np.arange(4)) is answers


def frame() -> pd.DataFrame:
    """120 accounts: one on a stage of its own, four with a tool of theirs, ten cities of three."""
    stages = ["Seed", "Series A"] * 60
    stages[0] = "Series D+"
    stacks = [["CRM", "BI"] if place % 2 else ["CRM"] for place in range(120)]
    for place in range(4):
        stacks[place] = ["CRM", "Rare"]
    cities = [f"rare {place // 3}" if place < 30 else f"city {place % 9}" for place in range(120)]
    return pd.DataFrame({"stage": stages, "stack": stacks, "city": cities})


SCHEMA = Schema((STAGES, STACK, Feature("city", "category")))


def test_rows_of_one_account_are_one_account() -> None:
    assert accounts_per_code(np.array([0, 0, 0, 1, 1]), np.array([3, 3, 3, 3, 4]), 2).tolist() == [1, 2]
    many = pd.concat([frame().iloc[:1]] * 30, ignore_index=True)
    both = pd.concat([frame(), many], ignore_index=True)
    groups = np.append(np.arange(120), np.zeros(30))
    encoder = Encoder.fit(both, SCHEMA, np.arange(150) % 2, groups)
    assert not any("Series D+" in part.value or "rare" in part.value for part in encoder.parts)


@pytest.mark.parametrize("secret", ["Series D+", "rare ", '"rare 0"', '"Rare"'])
def test_no_level_or_tool_of_fewer_than_five_accounts_is_kept(secret: str) -> None:
    given = frame()
    columns = read_columns(given, SCHEMA)
    encoder = Encoder.fit(given, SCHEMA, np.arange(120) % 2, np.arange(120))
    said = repr(encoder.to_state()) + repr(seen_values(given, SCHEMA, np.arange(120)))
    said += repr([LevelMargin.fit(column).counts for column in columns.categories.values()])
    said += repr(ToolMargin.fit(columns.tools["stack"]).to_state())
    said += repr(build_design(given, SCHEMA, np.arange(120)).candidates)
    assert secret.strip('"').casefold() not in said.casefold().replace("(rare)", "")
    assert "Seed" in said
    assert "city 3" in said
    assert "'bi'" in said


def test_a_level_that_is_pooled_surprises_as_often_as_such_levels_are_met() -> None:
    column = read_columns(frame(), SCHEMA).categories["city"]
    margin = LevelMargin.fit(column)
    assert margin.total == 120
    assert margin.new == pytest.approx(-np.log(30.5 / 121))
    assert margin.by_level(["city 3"])[0] < margin.new
    whole = LevelMargin({"a": 100, "b": 19, "c": 1})
    assert whole.new == pytest.approx(-np.log(1.5 / 121))


def test_no_knot_of_a_number_is_one_accounts_value() -> None:
    values = np.random.default_rng(2).lognormal(8, 1, 500)
    margin = NumberMargin.fit(values)
    assert margin is not None
    kept = {*margin.knots, margin.upper.at, -margin.lower.at, margin.low, margin.high}
    assert not kept & set(values.tolist())
    assert NumberMargin.fit(values[:4]) is None
