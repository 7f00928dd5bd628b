"""The score table: its contract, its missing parts and its warnings."""

from __future__ import annotations

import dataclasses
import re
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from icp_ml.data.dataset import Dataset
from icp_ml.data.ids import clean_ids
from icp_ml.errors import ConfigError, InputMismatchError, InputWarning
from icp_ml.model.columns import read_columns
from icp_ml.model.encoding import Encoder
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.reference import Ratios
from icp_ml.serve.score import InputGaps, _encoded, score_columns
from icp_ml.serve.training import train
from tests.serve.conftest import as_dataset

CONTRACT = [
    "account_id",
    "as_of",
    "p_retained",
    "p_retained_low",
    "p_retained_high",
    "p_expanded",
    "expected_nrr",
    "icp_fit",
    "tier",
    "icp_match",
    "applicability",
    "reason_1",
    "reason_2",
    "risk_1",
    "risk_2",
    "model_version",
]


def test_columns_are_the_contract(model: IcpModel, fresh: pd.DataFrame) -> None:
    assert list(model.score(fresh, reasons=2).columns) == CONTRACT == score_columns(2)
    assert len(model.score(fresh)) == len(fresh)


def test_values_are_in_range(profiled: IcpModel, fresh: pd.DataFrame) -> None:
    scores = profiled.score(fresh)
    assert scores["account_id"].tolist() == fresh["customer"].tolist()
    assert scores["p_retained"].between(0, 1).all()
    assert (scores["p_retained_low"] <= scores["p_retained"]).all()
    assert (scores["p_retained"] <= scores["p_retained_high"]).all()
    assert scores["icp_fit"].between(0, 100).all()
    assert set(scores["tier"]) <= set("ABCD")
    assert set(scores["icp_match"]) <= {"fit", "not_fit", "unknown"}
    assert set(scores["applicability"]) <= {"in", "edge", "out"}
    assert scores["expected_nrr"].isna().all()


def test_fit_score_ranks_as_the_probability_when_no_arr_is_known(
    model: IcpModel, fresh: pd.DataFrame
) -> None:
    scores = model.score(fresh).sort_values("p_retained")
    assert (np.diff(scores["icp_fit"]) >= 0).all()


def test_training_accounts_spread_over_the_percentiles(model: IcpModel, dataset: Dataset) -> None:
    fit = model.score(dataset.features, reasons=0)["icp_fit"]
    assert 30 < fit.median() < 70


def test_expected_nrr_is_the_sum_of_both_outcomes(model: IcpModel, fresh: pd.DataFrame) -> None:
    ratios = Ratios(expanded=1.4, flat=0.95, retained=1.1, cap=3.0)
    priced = dataclasses.replace(model, reference=dataclasses.replace(model.reference, ratios=ratios))
    scores = priced.score(fresh, reasons=0)
    flat = (scores["p_retained"] - scores["p_expanded"]).clip(lower=0)
    np.testing.assert_allclose(scores["expected_nrr"], scores["p_expanded"] * 1.4 + flat * 0.95)
    np.testing.assert_array_equal(priced.expected_ratio(fresh), scores["expected_nrr"])


def test_reasons_push_up_and_risks_push_down(model: IcpModel, fresh: pd.DataFrame) -> None:
    scores = model.score(fresh, reasons=2)
    for name, sign in (("reason_1", "+"), ("risk_1", "-")):
        signs = {re.findall(r"\(([+−-])", text)[0] for text in scores[name].dropna()}
        assert {s.replace("−", "-") for s in signs} == {sign}


def test_a_model_of_one_target_leaves_the_other_empty(frame: pd.DataFrame, fresh: pd.DataFrame) -> None:
    only = Dataset.from_frame(
        frame.drop(columns="grown"),
        account_id="customer",
        labels={"retained": "renewed"},
        technologies=["stack"],
    )
    scores = train(only, profile=False).score(fresh)
    assert scores["p_expanded"].isna().all()
    assert scores["p_retained"].notna().all()


def test_an_expansion_model_alone_ranks_by_expansion(frame: pd.DataFrame, fresh: pd.DataFrame) -> None:
    only = Dataset.from_frame(
        frame.drop(columns="renewed"),
        account_id="customer",
        labels={"expanded": "grown"},
        technologies=["stack"],
    )
    model = train(only, profile=False)
    scores = model.score(fresh)
    assert scores["p_retained"].isna().all()
    assert scores["icp_fit"].notna().all()
    assert scores["reason_1"].notna().any()
    assert np.isnan(model.expected_ratio(fresh)).all()


def test_missing_columns_are_one_counted_warning(model: IcpModel, fresh: pd.DataFrame) -> None:
    with pytest.warns(InputWarning, match=r"seats \(200 rows\)") as caught:
        scores = model.score(fresh.drop(columns="seats"))
    assert len(caught) == 1
    assert scores["p_retained"].notna().all()


def test_unseen_levels_and_tools_are_one_counted_warning(model: IcpModel, fresh: pd.DataFrame) -> None:
    new = fresh.assign(industry="Space", stack=[["Unheard"]] * len(fresh))
    with pytest.warns(InputWarning, match=r"industry \(200 rows\), stack \(200 rows\)") as caught:
        scores = model.score(new)
    assert len(caught) == 1
    assert set(scores["applicability"]) == {"out"}


def test_known_input_warns_of_nothing(model: IcpModel, fresh: pd.DataFrame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.score(fresh)


def test_a_frame_without_accounts_is_refused(model: IcpModel, fresh: pd.DataFrame) -> None:
    with pytest.raises(InputMismatchError, match="customer"):
        model.score(fresh.drop(columns="customer"))


def test_an_account_may_occur_twice(model: IcpModel, fresh: pd.DataFrame) -> None:
    twice = pd.concat([fresh.head(3), fresh.head(3)], ignore_index=True)
    scores = model.score(twice)
    pd.testing.assert_frame_equal(scores.iloc[:3], scores.iloc[3:].reset_index(drop=True))


def test_no_rows_give_no_scores(model: IcpModel, fresh: pd.DataFrame) -> None:
    empty = model.score(fresh.head(0))
    assert list(empty.columns) == score_columns(3)
    assert empty.empty


def test_a_negative_number_of_reasons_is_refused(model: IcpModel, fresh: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="-1"):
        model.score(fresh, reasons=-1)


def test_gaps_add_up() -> None:
    total = InputGaps(2, {"a": 2}, {"b": 1}) + InputGaps(3, {"c": 3}, {"b": 2})
    assert (total.rows, total.missing, total.unseen) == (5, {"a": 2, "c": 3}, {"b": 3})
    assert InputGaps(5).text() == ""


@pytest.mark.parametrize(
    "ids",
    [
        ["a1", "b 2", "c-3"],
        [" a1", "b2 ", "c3"],
        ["1.0", "2.0", "3.0"],
        ["1.0", "b2", "3.0"],
        ["ä1", "b2", "日本"],
        ["a1", "a1", "~"],
    ],
)
def test_account_ids_are_cleaned_as_ever(model: IcpModel, fresh: pd.DataFrame, ids: list[str]) -> None:
    wanted = clean_ids(pd.Series(ids)).tolist()
    rows = fresh.head(3).assign(customer=ids)
    assert model.score(rows, reasons=0)["account_id"].tolist() == wanted
    assert model.score(rows.set_axis([5, 5, 7]), reasons=0)["account_id"].tolist() == wanted


@pytest.mark.parametrize("empty", [None, "", "NULL", "n/a", " "])
def test_an_empty_account_id_is_refused(model: IcpModel, fresh: pd.DataFrame, empty: str | None) -> None:
    with pytest.raises(InputMismatchError, match="found 1 of 3 empty"):
        model.score(fresh.head(3).assign(customer=["a", empty, "b"]), reasons=0)


def test_a_cell_that_cannot_be_read_is_told_with_its_account(model: IcpModel, fresh: pd.DataFrame) -> None:
    rows = fresh.head(3).assign(customer=["a", "b", "c"], seats=["1", "many", "3"])
    with pytest.raises(InputMismatchError, match=r"'many'.*\bb\b"):
        model.score(rows, reasons=0)


def test_each_target_is_read_in_its_own_encoding(frame: pd.DataFrame) -> None:
    towns = [f"town {i % 60}" for i in range(len(frame))]
    dataset = as_dataset(frame.assign(town=towns))
    columns = read_columns(dataset.features, dataset.schema)
    encoders = {
        target: Encoder.fit(dataset.features, dataset.schema, y=frame[outcome])
        for target, outcome in (("retained", "renewed"), ("expanded", "grown"))
    }
    model: Any = SimpleNamespace(ensembles={t: SimpleNamespace(encoder=e) for t, e in encoders.items()})
    read = {target: matrix.copy() for target, _, matrix in _encoded(model, columns)}
    assert (read["retained"] != read["expanded"]).any()
    for target, encoder in encoders.items():
        np.testing.assert_array_equal(read[target], encoder.transform(columns))


def test_blocks_of_rows_give_the_same_scores(
    model: IcpModel, fresh: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model.score(fresh)
    monkeypatch.setattr("icp_ml.serve.score.BLOCK_ROWS", 7)
    pd.testing.assert_frame_equal(model.score(fresh), whole, check_exact=True)
