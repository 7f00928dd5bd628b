"""Scores from tables on disk: those of the same tables in memory, whatever the size of a bucket."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from icp_ml.cli import main
from icp_ml.data.dataset import build_dataset
from icp_ml.data.features import build_features
from icp_ml.data.tables import Tables, read_tables
from icp_ml.data.windows import quarter_ends
from icp_ml.errors import ConfigError
from icp_ml.serve.bundle import save
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.rawtables import score_tables
from icp_ml.serve.stream import RUN_FILE
from icp_ml.serve.training import train
from icp_ml.simulation import make_tables

DAY = "2024-09-30"
pytestmark = pytest.mark.filterwarnings("ignore:.*never seen in training:icp_ml.errors.InputWarning")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crm")
    tables, _ = read_tables(make_tables(250, seed=4).tables)
    for name in ("accounts", "technologies", "subscriptions"):
        tables.required(name).to_parquet(folder / f"{name}.parquet")
    return folder


@pytest.fixture(scope="module")
def tables(source: Path) -> Tables:
    return read_tables(source)[0]


@pytest.fixture(scope="module")
def learnt(tables: Tables) -> IcpModel:
    dataset = build_dataset(
        tables, snapshot_dates=quarter_ends("2022-06-30", "2023-06-30"), horizon_months=12
    )
    return train(dataset, seed=3, profile=False)


def read(files: tuple[Path, ...]) -> pd.DataFrame:
    found = pd.concat([pq.read_table(path).to_pandas() for path in files], ignore_index=True)
    return found.sort_values("account_id", ignore_index=True)


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    for name in right.columns:
        one, other = left[name].astype(object), right[name].astype(object)
        assert one.where(one.notna(), None).tolist() == other.where(other.notna(), None).tolist(), name


@pytest.mark.parametrize("bucket_rows", [100, 10_000_000])
def test_scores_are_those_of_the_tables_in_memory(
    learnt: IcpModel, tables: Tables, source: Path, tmp_path: Path, bucket_rows: int
) -> None:
    run = score_tables(learnt, source, tmp_path / "out", as_of=DAY, bucket_rows=bucket_rows, batch_rows=64)
    expected = learnt.score(build_features(tables, as_of=DAY, schema=learnt.schema))
    same(read(run.scores.files), expected)
    assert run.scores.rows == len(expected) <= run.rows_in["accounts"]
    assert (len(run.scores.files) > 1) == (bucket_rows == 100)


def test_parts_say_what_made_them_and_nothing_else_is_left(
    learnt: IcpModel, source: Path, tmp_path: Path
) -> None:
    run = score_tables(learnt, source, tmp_path / "out", as_of=DAY, bucket_rows=100)
    facts = pq.read_schema(run.scores.files[0]).metadata
    assert facts[b"icp_ml.as_of"] == DAY.encode()
    assert facts[b"icp_ml.rows"] == str(pq.read_metadata(run.scores.files[0]).num_rows).encode()
    assert json.loads((tmp_path / "out" / RUN_FILE).read_text())["rows"] == run.scores.rows
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        RUN_FILE,
        *(path.name for path in run.scores.files),
    }
    with pytest.raises(ConfigError, match="folder without scores"):
        score_tables(learnt, source, tmp_path / "out", as_of=DAY)


def test_the_command_line_scores_tables_on_disk(learnt: IcpModel, source: Path, tmp_path: Path) -> None:
    save(learnt, tmp_path / "bundle")
    arguments = ["score", "--model", str(tmp_path / "bundle"), "--tables", str(source), "--as-of", DAY]
    done = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "300 accounts scored" in done.output
    refused = CliRunner().invoke(main, [*arguments, "--data", str(source)])
    assert refused.exit_code == 2
    assert "--tables alone" in refused.output
