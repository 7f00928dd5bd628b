"""Scoring on a real local Spark: the rows and bytes of the local path, none lost, failures named."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from icp_ml.adapters.spark import score_spark
from icp_ml.data.dataset import Dataset
from icp_ml.errors import ConfigError, InputWarning, MissingDependencyError
from icp_ml.serve.bundle import save
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.training import train

pytestmark = pytest.mark.xdist_group("spark")


def frame(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sizes = np.where(rng.random(rows) < 0.1, np.nan, np.round(np.exp(rng.normal(4, 1, rows))))
    fields = pd.DataFrame(
        {
            "customer": [f"c{i:05d}" for i in range(rows)],
            "industry": rng.choice(np.array(["Fintech", "Retail", None], dtype=object), rows),
            "seats": sizes,
        }
    )
    tools = ["Slack", "Jira", "dbt"]
    fields["stack"] = [None if i % 9 == 0 else tools[: i % 4] for i in range(rows)]
    chance = 0.4 + 0.4 * (fields["industry"] == "Fintech")
    fields["renewed"] = rng.random(rows) < chance
    fields["grown"] = fields["renewed"] & (rng.random(rows) < 0.5)
    return fields


@pytest.fixture(scope="module")
def model() -> IcpModel:
    labels = {"retained": "renewed", "expanded": "grown"}
    dataset = Dataset.from_frame(frame(300, 1), account_id="customer", labels=labels, technologies=["stack"])
    return train(dataset, seed=1, profile=False)


@pytest.fixture(scope="module")
def base() -> pd.DataFrame:
    return frame(230, 2).drop(columns=["renewed", "grown"])


@pytest.fixture(scope="module")
def spark(script: Callable[[str], Any]) -> Iterator[Any]:
    here = script("local_spark.py")
    if here.missing_spark():
        pytest.skip(here.missing_spark())
    settings = {**here.SHORT, "spark.sql.execution.arrow.maxRecordsPerBatch": "40"}
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        warnings.simplefilter("ignore")
        with here.local_spark(settings, master="local[2, 3]") as session:
            yield session


def read(spark: Any, base: pd.DataFrame, folder: Path) -> Any:
    base.to_parquet(folder / "base.parquet")
    return spark.read.parquet(str(folder / "base.parquet"))


def collected(scores: Any, folder: Path) -> pa.Table:
    scores.write.parquet(str(folder / "scores"))
    return pq.read_table(folder / "scores").sort_by("account_id")


def test_same_rows_and_same_bytes_as_the_local_path(
    spark: Any, model: IcpModel, base: pd.DataFrame, tmp_path: Path
) -> None:
    df = read(spark, base.assign(extra=1), tmp_path).repartition(7, "customer")
    found = collected(score_spark(df, model, reasons=2), tmp_path)
    wanted = pa.Table.from_pandas(model.score(base, reasons=2), preserve_index=False).sort_by("account_id")
    assert found.column_names == wanted.column_names
    assert found.num_rows == len(base)
    for name in wanted.column_names:
        left, right = found[name].to_pylist(), wanted[name].to_pylist()
        if pa.types.is_floating(wanted[name].type):
            np.testing.assert_array_equal(left, right)
        else:
            assert left == right, name


def test_a_model_that_moves_after_the_call_changes_nothing(
    spark: Any, model: IcpModel, base: pd.DataFrame, tmp_path: Path
) -> None:
    save(model, tmp_path / "bundle")
    scores = score_spark(read(spark, base, tmp_path), tmp_path / "bundle", reasons=0)
    shutil.rmtree(tmp_path / "bundle")
    found = collected(scores, tmp_path)
    assert found["p_retained"].to_pylist() == model.score(base, reasons=0)["p_retained"].tolist()


def test_a_row_that_cannot_be_read_fails_and_names_its_partition(
    spark: Any, model: IcpModel, base: pd.DataFrame, tmp_path: Path
) -> None:
    from pyspark.errors import PythonException

    broken = base.assign(seats=base["seats"].astype(object).where(base.index != 200, "many").astype("str"))
    df = read(spark, broken, tmp_path).coalesce(1)
    with pytest.raises(PythonException, match=r"(?s)'many'.*while scoring partition 0"):
        score_spark(df, model, reasons=0).collect()


def test_a_killed_worker_loses_no_row(
    spark: Any, model: IcpModel, base: pd.DataFrame, tmp_path: Path
) -> None:
    df = read(spark, base, tmp_path).repartition(3, "customer")
    marker, shape = tmp_path / "killed", df.schema

    def kill_once(batches: Iterator[Any]) -> Iterator[Any]:
        import os

        for batch in batches:
            if not marker.exists():
                marker.touch()
                os._exit(1)
            yield batch

    found = collected(score_spark(df.mapInArrow(kill_once, shape), model, reasons=0), tmp_path)
    assert marker.exists()
    assert found["account_id"].to_pylist() == sorted(base["customer"])
    expected = model.score(base, reasons=0).sort_values("account_id")["p_retained"].tolist()
    assert found["p_retained"].to_pylist() == expected


def test_absent_columns_are_told_on_the_driver(
    spark: Any, model: IcpModel, base: pd.DataFrame, tmp_path: Path
) -> None:
    df = read(spark, base.drop(columns="seats"), tmp_path)
    with pytest.warns(InputWarning, match="seats"):
        scores = score_spark(df, model, reasons=0)
    assert scores.count() == len(base)


def test_settings_and_a_missing_library_are_named(model: IcpModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="reasons"):
        score_spark(None, model, reasons=-1)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.setitem(sys.modules, "pyspark.sql.types", None)
    with pytest.raises(MissingDependencyError, match=r"icp-ml\[spark\]"):
        score_spark(None, model)
