"""Scoring files: equal to scoring a frame, complete or not there, never over somebody's work."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from icp_ml.errors import ConfigError, InputMismatchError, InputWarning, TableError
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.score import score_columns
from icp_ml.serve.sources import RUN_FILE
from icp_ml.serve.stream import find_files, score_parquet


@pytest.fixture
def base(fresh: pd.DataFrame, tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    fresh.iloc[:120].to_parquet(folder / "a.parquet", row_group_size=50)
    fresh.iloc[120:].to_parquet(folder / "b.parquet")
    return folder


@pytest.mark.parametrize("batch_rows", [1, 33, 65_536])
def test_files_hold_the_scores_of_the_frame(
    model: IcpModel, fresh: pd.DataFrame, base: Path, tmp_path: Path, batch_rows: int
) -> None:
    sample = fresh if batch_rows > 1 else fresh.iloc[:120]
    source = base if batch_rows > 1 else base / "a.parquet"
    run = score_parquet(model, source, tmp_path / "out", batch_rows=batch_rows)
    written = pd.concat([pq.read_table(path).to_pandas() for path in run.files], ignore_index=True)
    expected = model.score(sample)
    assert run.rows == len(sample)
    for name in score_columns(3):
        left, right = written[name].astype(object), expected[name].astype(object)
        assert left.where(left.notna(), None).tolist() == right.where(right.notna(), None).tolist(), name


def test_parts_run_file_and_metadata(model: IcpModel, base: Path, tmp_path: Path) -> None:
    named = dataclasses.replace(model, version="icp/3")
    run = score_parquet(named, str(base / "*.parquet"), tmp_path / "out", reasons=1)
    assert [path.name for path in run.files] == ["part-00000.parquet", "part-00001.parquet"]
    schema = pq.read_schema(run.files[0])
    assert schema.names == score_columns(1)
    assert schema.metadata[b"icp_ml.model_version"] == b"icp/3"
    assert schema.metadata[b"icp_ml.dataset_fingerprint"].decode() == model.facts["dataset_fingerprint"]
    content = json.loads((tmp_path / "out" / "_scores.json").read_text(encoding="utf-8"))
    assert content["rows"] == run.rows == 200
    assert [part["rows"] for part in content["parts"]] == [120, 80]
    assert not list((tmp_path / "out").glob(".*"))


def test_scores_already_there_are_kept_unless_told(model: IcpModel, base: Path, tmp_path: Path) -> None:
    score_parquet(model, base, tmp_path / "out", reasons=0)
    before = (tmp_path / "out" / "part-00000.parquet").read_bytes()
    with pytest.raises(ConfigError, match="overwrite"):
        score_parquet(model, base / "b.parquet", tmp_path / "out", reasons=0)
    assert (tmp_path / "out" / "part-00000.parquet").read_bytes() == before
    run = score_parquet(model, base / "b.parquet", tmp_path / "out", reasons=0, overwrite=True)
    assert run.kept == 0
    assert score_parquet(model, base / "b.parquet", run.path, reasons=0, overwrite=True).kept == 0
    assert [path.name for path in sorted(run.path.glob("*.parquet"))] == ["part-00000.parquet"]


def test_input_and_output_folder_must_differ(model: IcpModel, base: Path) -> None:
    with pytest.raises(ConfigError, match="apart from the input"):
        score_parquet(model, base, base, overwrite=True)


def test_a_failing_file_leaves_no_part_and_no_run_file(
    model: IcpModel, fresh: pd.DataFrame, base: Path, tmp_path: Path
) -> None:
    fresh.drop(columns="customer").to_parquet(base / "c.parquet")
    with pytest.raises(InputMismatchError):
        score_parquet(model, base, tmp_path / "out", reasons=0)
    assert not [path for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")]
    assert not list((tmp_path / "out").rglob("*.parquet"))
    (base / "c.parquet").unlink()
    assert score_parquet(model, base, tmp_path / "out", reasons=0, resume=True).kept == 2


def test_gaps_are_told_once_for_all_batches(
    model: IcpModel, base: Path, fresh: pd.DataFrame, tmp_path: Path
) -> None:
    fresh.assign(industry="Space").to_parquet(base / "c.parquet")
    with pytest.warns(InputWarning, match=r"400 rows scored.*industry \(200 rows\)") as caught:
        run = score_parquet(model, base, tmp_path / "out", reasons=0, batch_rows=40)
    assert len(caught) == 1
    assert run.gaps.unseen == {"industry": 200}


def test_progress_ends_at_the_total(model: IcpModel, base: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    score_parquet(
        model,
        base,
        tmp_path / "out",
        reasons=0,
        batch_rows=64,
        progress=lambda done, total: seen.append((done, total)),
    )
    done = [0, *(rows for rows, _ in seen)]
    # Whether a batch ends with its row group depends on the version of pyarrow.
    assert all(0 < step <= 64 for step in np.diff(done))
    assert seen[-1] == (200, 200)
    assert {total for _, total in seen} == {200}


def test_scores_lie_in_no_folder_that_is_read(model: IcpModel, base: Path, tmp_path: Path) -> None:
    wrong = [
        (base, base / "scores"),
        (base, tmp_path),
        (str(tmp_path / "**" / "*.parquet"), tmp_path / "out"),
    ]
    for source, out in [*wrong, (str(tmp_path / "*" / "*.parquet"), tmp_path / "out")]:
        with pytest.raises(ConfigError, match="apart from the input"):
            score_parquet(model, source, out, reasons=0)
    assert not (base / "scores").exists()
    source = str(base / "*.parquet")
    first = score_parquet(model, source, base / "scores", reasons=0)
    again = score_parquet(model, source, base / "scores", reasons=0, overwrite=True)
    assert (first.rows, again.rows) == (200, 200)


def test_an_input_that_changes_while_it_is_scored_is_refused(
    model: IcpModel, base: Path, fresh: pd.DataFrame, tmp_path: Path
) -> None:
    def replaced(done: int, total: int) -> None:
        fresh.iloc[120:].assign(seats=1.0).to_parquet(base / "b.parquet")

    with pytest.raises(TableError, match=r"b\.parquet to stay as it is"):
        score_parquet(model, base / "b.parquet", tmp_path / "out", reasons=0, progress=replaced)


def test_yesterdays_scores_stay_until_todays_are_whole(model: IcpModel, base: Path, tmp_path: Path) -> None:
    run = score_parquet(model, base, tmp_path / "out", reasons=0)
    (tmp_path / "out" / "part-list.xlsx").write_text("precious")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (base / "b.parquet").write_bytes(b"PAR1")
    for how in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(TableError, match=r"b\.parquet"):
            score_parquet(model, base, tmp_path / "out", reasons=0, **how)
        seen = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
        assert seen == before


def test_sources(base: Path, tmp_path: Path) -> None:
    both = [base / "a.parquet", base / "b.parquet"]
    (base / "_part.parquet").write_text("not for reading")
    assert find_files(base) == find_files(str(base / "[ab].parquet")) == both
    assert find_files([both[1], base]) == [both[1], both[0]]
    for nothing in (tmp_path / "none", str(tmp_path / "*.parquet"), []):
        with pytest.raises(TableError):
            find_files(nothing)


def test_a_file_that_is_not_parquet_is_named(model: IcpModel, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(TableError, match=r"x\.parquet"):
        score_parquet(model, tmp_path / "x.parquet", tmp_path / "out")


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_parts_are_split_by_a_column_on_request(
    model: IcpModel, fresh: pd.DataFrame, base: Path, tmp_path: Path, format: str
) -> None:
    out = tmp_path / "out"
    run = score_parquet(model, base, out, partition_by="tier", format=format, batch_rows=50)  # type: ignore[arg-type]
    expected = model.score(fresh).set_index("account_id")["tier"]
    assert {path.parent.name for path in run.files} == {f"tier={tier}" for tier in set(expected)}
    read = pd.read_parquet if format == "parquet" else pd.read_csv
    for path in run.files:
        part = read(path)
        assert "tier" not in part.columns
        assert set(expected[part["account_id"]]) == {path.parent.name.removeprefix("tier=")}
    assert sum(len(read(path)) for path in run.files) == len(fresh) == run.rows


def test_a_partitioned_run_is_resumed_and_replaced_without_leftovers(
    model: IcpModel, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    score_parquet(model, base, out, partition_by="tier")
    assert score_parquet(model, base, out, partition_by="tier", resume=True).kept == 2
    again = score_parquet(model, base, out, partition_by="icp_match", resume=True)
    assert again.kept == 0
    assert {path.name.split("=")[0] for path in out.iterdir() if path.is_dir()} == {"icp_match"}
    whole = score_parquet(model, base, out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == [RUN_FILE, *(path.name for path in whole.files)]
    with pytest.raises(ConfigError, match="partition_by"):
        score_parquet(model, base, tmp_path / "other", partition_by="reason_1")  # type: ignore[arg-type]


def test_scores_of_an_earlier_run_are_no_input(model: IcpModel, base: Path) -> None:
    score_parquet(model, base / "a.parquet", base / "scores", partition_by="tier")
    assert [path.name for path in find_files(base)] == ["a.parquet", "b.parquet"]
