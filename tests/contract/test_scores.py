"""Promises about scores: a row's score is its own, and survives saving bit for bit."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icp_ml.data.dataset import Dataset
from icp_ml.errors import InputWarning
from icp_ml.serve.bundle import load, save
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.stream import score_parquet
from icp_ml.serve.training import train
from icp_ml.simulation import make_frame

ROWS = 120
LABELS = {"retained": "retained", "expanded": "expanded"}
KEYS = ("account_id", "retained", "expanded")
FEATURES = ("industry", "employees", "revenue_growth", "has_data_team", "funding_stage", "technologies")

quick = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def accounts(rows: int, seed: int) -> pd.DataFrame:
    """A few columns of every kind from the simulation, with missing values."""
    return make_frame(rows, seed=seed, signal="strong", n_nulls=0, n_tools=40).frame[[*KEYS, *FEATURES]]


def trained(n_jobs: int | None = None) -> IcpModel:
    dataset = Dataset.from_frame(
        accounts(300, seed=4), account_id="account_id", labels=LABELS, technologies=["technologies"]
    )
    return train(dataset, seed=1, n_jobs=n_jobs)


@pytest.fixture(scope="module")
def model() -> IcpModel:
    return trained()


@pytest.fixture(scope="module")
def base() -> pd.DataFrame:
    """Other accounts, without their outcomes."""
    return accounts(ROWS, seed=5)[["account_id", *FEATURES]].head(ROWS).reset_index(drop=True)


@pytest.fixture(scope="module")
def expected(model: IcpModel, base: pd.DataFrame) -> pd.DataFrame:
    return quiet_score(model, base)


def quiet_score(model: IcpModel, features: pd.DataFrame) -> pd.DataFrame:
    """Score without the count of unseen values, which belongs to the batch and not to a row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        return model.score(features, reasons=3)


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True), wanted.reset_index(drop=True), check_exact=True, check_dtype=True
    )


@quick
@given(rows=st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=40))
def test_neighbours_order_and_repeats_change_nothing(
    model: IcpModel, base: pd.DataFrame, expected: pd.DataFrame, rows: list[int]
) -> None:
    same(quiet_score(model, base.iloc[rows]), expected.iloc[rows])


@quick
@given(data=st.data())
def test_column_order_changes_nothing(
    model: IcpModel, base: pd.DataFrame, expected: pd.DataFrame, data: st.DataObject
) -> None:
    columns = data.draw(st.permutations(list(base.columns)))
    same(quiet_score(model, base[columns].head(20)), expected.head(20))


def test_each_account_alone_scores_as_in_the_crowd(
    model: IcpModel, base: pd.DataFrame, expected: pd.DataFrame
) -> None:
    alone = pd.concat([quiet_score(model, base.iloc[[row]]) for row in range(40)])
    same(alone, expected.head(40))


def test_a_large_batch_scores_as_a_small_one(
    model: IcpModel, base: pd.DataFrame, expected: pd.DataFrame
) -> None:
    many = pd.concat([base] * 300, ignore_index=True)
    found = quiet_score(model, many)
    same(found.tail(ROWS), expected)
    same(found.head(ROWS), expected)


def test_how_a_column_is_stored_changes_nothing(
    model: IcpModel, base: pd.DataFrame, expected: pd.DataFrame
) -> None:
    stored = base.copy()
    for name in model.schema.of_kind("category"):
        stored[name] = stored[name].astype("category")
    for name in model.schema.of_kind("technologies"):
        lists = pa.array(list(stored[name]), from_pandas=True).cast(pa.list_(pa.string()))
        stored[name] = pd.Series(pd.array(lists, dtype=pd.ArrowDtype(lists.type)))
    same(quiet_score(model, stored), expected)


def test_saved_and_loaded_scores_are_the_same_bits(
    model: IcpModel, base: pd.DataFrame, expected: pd.DataFrame, tmp_path: Path
) -> None:
    save(model, tmp_path / "bundle")
    same(quiet_score(load(tmp_path / "bundle"), base), expected)


def test_a_bundle_is_text_without_pickle_or_paths(model: IcpModel, tmp_path: Path) -> None:
    save(model, tmp_path / "bundle")
    files = [path for path in (tmp_path / "bundle").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".txt"}
    for path in files:
        text = path.read_bytes().decode("utf-8")
        assert "\x00" not in text
        assert str(Path.cwd()) not in text
        assert str(tmp_path) not in text


def test_training_twice_gives_the_same_bytes(model: IcpModel, tmp_path: Path) -> None:
    save(model, tmp_path / "one")
    save(trained(n_jobs=2), tmp_path / "two")
    content = [{p.name: p.read_text("utf-8") for p in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert content[0].keys() == content[1].keys()
    assert [name for name in sorted(content[0]) if content[0][name] != content[1][name]] == []


def test_files_score_as_frames_whatever_the_batch(
    model: IcpModel, base: pd.DataFrame, expected: pd.DataFrame, tmp_path: Path
) -> None:
    base.to_parquet(tmp_path / "base.parquet", row_group_size=17)
    for batch_rows in (7, 1000):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)
            run = score_parquet(
                model, tmp_path / "base.parquet", tmp_path / f"out{batch_rows}", batch_rows=batch_rows
            )
        written = pd.read_parquet(run.files[0])
        numbers = expected.select_dtypes("number").columns
        np.testing.assert_array_equal(written[numbers].to_numpy(), expected[numbers].to_numpy())
        for name in ("account_id", "tier", "icp_match", "applicability", "reason_1", "risk_3"):
            assert written[name].fillna("").tolist() == expected[name].fillna("").tolist()
