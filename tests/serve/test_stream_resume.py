"""Scoring files: resumed by part, csv in and out, folders that are columns, threads."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from icp_ml.errors import ConfigError, TableError
from icp_ml.serve import sources, stream
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.sources import _runs, count_rows, find_files
from icp_ml.serve.stream import pace_text, score_parquet


@pytest.fixture
def base(fresh: pd.DataFrame, tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    for number, start in enumerate(range(0, 200, 50)):
        fresh.iloc[start : start + 50].to_parquet(folder / f"{number}.parquet")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}


def broken_after(monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    """Let the machine stop while the file after so many is written."""
    whole, seen = stream.finish_part, []

    def finish(*args: object) -> dict:
        seen.append(args)
        if len(seen) > files:
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(stream, "finish_part", finish)


def test_an_interrupted_run_is_taken_up_part_by_part(
    model: IcpModel, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score_parquet(model, base, tmp_path / "whole", reasons=1)
    with monkeypatch.context() as patch:
        broken_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            score_parquet(model, base, tmp_path / "out", reasons=1)
    assert not (tmp_path / "out" / "_scores.json").exists()
    with pytest.raises(ConfigError, match="resume=True"):
        score_parquet(model, base, tmp_path / "out", reasons=1)
    assert not list((tmp_path / "out").rglob("*.parquet"))
    staged = (tmp_path / "out").rglob("part-*.unfinished")
    times = {p.name.removesuffix(".unfinished"): p.stat().st_mtime_ns for p in staged}
    seen: list[tuple[int, int]] = []
    run = score_parquet(
        model, base, tmp_path / "out", reasons=1, resume=True, progress=lambda *at: seen.append(at)
    )
    assert (run.rows, run.kept, run.gaps) == (200, 2, whole.gaps)
    assert seen == [(50, 200), (100, 200), (150, 200), (200, 200)]
    assert contents(run.path) == contents(whole.path)
    kept = [name for name, at in times.items() if (run.path / name).stat().st_mtime_ns == at]
    assert sorted(kept) == ["part-00000.parquet", "part-00001.parquet"]
    assert not list(run.path.glob(".*"))
    again = score_parquet(model, base, tmp_path / "out", reasons=1, resume=True)
    assert (again.kept, contents(again.path)) == (4, contents(whole.path))


def test_only_parts_of_this_model_input_and_setting_are_kept(
    model: IcpModel, fresh: pd.DataFrame, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    score_parquet(model, base, out, reasons=0)
    assert score_parquet(model, base, out, reasons=0, resume=True).kept == 4
    assert score_parquet(model, base, out, reasons=1, resume=True).kept == 0
    other = dataclasses.replace(model, version="icp/9")
    assert score_parquet(other, base, out, reasons=1, resume=True).kept == 0
    changed = dataclasses.replace(
        model, reference=dataclasses.replace(model.reference, quantiles=(0.0,) * 101), version="icp/9"
    )
    assert score_parquet(changed, base, out, reasons=1, resume=True).kept == 0
    fresh.iloc[1:51].to_parquet(base / "0.parquet")
    assert score_parquet(changed, base, out, reasons=1, resume=True).kept == 3
    part = out / "part-00003.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert score_parquet(changed, base, out, reasons=1, resume=True).kept == 3
    (base / "3.parquet").unlink()
    fewer = score_parquet(changed, base, out, reasons=1, resume=True)
    assert (fewer.rows, fewer.kept, len(contents(out))) == (150, 3, 3)


def test_a_part_with_too_few_rows_is_refused(
    model: IcpModel, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "count_rows", lambda path: count_rows(path) + path.name.startswith("2"))
    with pytest.raises(TableError, match="expected 51 rows in part-00002"):
        score_parquet(model, base, tmp_path / "out", reasons=0)
    assert not (tmp_path / "out" / "_scores.json").exists()


def test_threads_and_batches_change_no_byte_of_the_scores(
    model: IcpModel, base: Path, tmp_path: Path
) -> None:
    one = score_parquet(model, base, tmp_path / "one", n_jobs=1)
    three = score_parquet(model, base, tmp_path / "three", n_jobs=3, batch_rows=7)
    for left, right in zip(one.files, three.files, strict=True):
        assert pq.read_table(left).combine_chunks().equals(pq.read_table(right).combine_chunks())
        facts = pq.read_schema(right).metadata
        assert facts[b"icp_ml.rows"] == b"50"
        assert len(facts[b"icp_ml.model_sha256"]) == len(facts[b"icp_ml.sha256"]) == 64
        assert pq.ParquetFile(right).metadata.row_group(0).column(0).compression == "ZSTD"


def test_csv_in_and_out_holds_the_same_scores(model: IcpModel, fresh: pd.DataFrame, tmp_path: Path) -> None:
    text = fresh.assign(stack=fresh["stack"].map(lambda tools: tools if tools is None else ";".join(tools)))
    text = text.assign(note='a "quoted"\nnote', stack=text["stack"].replace("", ";"))
    (tmp_path / "in").mkdir()
    text.iloc[:120].to_csv(tmp_path / "in" / "a.csv", index=False)
    with gzip.open(tmp_path / "in" / "b.csv.gz", "wt", encoding="utf-8") as file:
        text.iloc[120:].to_csv(file, index=False)
    run = score_parquet(model, tmp_path / "in", tmp_path / "out", format="csv", batch_rows=50)
    assert [path.name for path in run.files] == ["part-00000.csv", "part-00001.csv"]
    found = pd.concat([pd.read_csv(path, keep_default_na=False) for path in run.files], ignore_index=True)
    expected = model.score(fresh)
    assert run.rows == len(found) == 200
    for name in expected:
        wanted = expected[name].astype(object).where(expected[name].notna(), "")
        assert found[name].astype(str).tolist() == wanted.astype(str).tolist(), name
    again = score_parquet(model, tmp_path / "in", tmp_path / "out", format="csv", resume=True)
    assert again.kept == 2


def test_folders_named_after_a_value_are_columns(
    model: IcpModel, fresh: pd.DataFrame, tmp_path: Path
) -> None:
    for industry, rows in fresh.groupby("industry", dropna=False):
        name = "__HIVE_DEFAULT_PARTITION__" if pd.isna(industry) else industry
        (tmp_path / "in" / f"industry={name}").mkdir(parents=True)
        rows.drop(columns="industry").to_parquet(tmp_path / "in" / f"industry={name}" / "x.parquet")
    run = score_parquet(model, tmp_path / "in", tmp_path / "out")
    found = pd.concat([pd.read_parquet(path) for path in run.files]).sort_values("account_id")
    expected = model.score(fresh).sort_values("account_id")
    assert found["p_retained"].tolist() == expected["p_retained"].tolist()
    assert found["reason_1"].fillna("").tolist() == expected["reason_1"].fillna("").tolist()


def test_settings_that_make_no_sense(model: IcpModel, base: Path, tmp_path: Path) -> None:
    wrong: list[dict] = [
        {"format": "xml"},
        {"n_jobs": 0},
        {"batch_rows": 0},
        {"reasons": -1},
        {"overwrite": True, "resume": True},
    ]
    for settings in wrong:
        with pytest.raises(ConfigError):
            score_parquet(model, base, tmp_path / "out", **settings)
    (tmp_path / "x.csv").write_bytes(b"customer,seats\nc1,\xff\xfe\n")
    with pytest.raises(TableError, match=r"x\.csv"):
        score_parquet(model, tmp_path / "x.csv", tmp_path / "out")
    assert find_files(base, (".csv", ".parquet")) == find_files(base)


def test_the_run_file_says_what_was_scored_with_what(model: IcpModel, base: Path, tmp_path: Path) -> None:
    score_parquet(model, base, tmp_path / "out", reasons=2)
    content = json.loads((tmp_path / "out" / "_scores.json").read_text(encoding="utf-8"))
    assert (content["rows"], content["reasons"], len(content["model_sha256"])) == (200, 2, 64)
    assert [(part["source"], part["rows"]) for part in content["parts"]] == [
        (f"{number}.parquet", 50) for number in range(4)
    ]


def test_pace() -> None:
    assert pace_text(50, 200, 2.0) == "50 of 200 accounts, 25 per second, 6 s left"
    assert pace_text(0, 0, 0.0) == "0 of 0 accounts, 0 per second, 0 s left"


def test_row_groups_are_read_a_few_batches_at_a_time() -> None:
    assert _runs([50] * 5, 25) == [[0, 1], [2, 3], [4]]
    assert _runs([1000, 1, 1], 25) == [[0], [1, 2]]
    assert _runs([], 25) == []


@pytest.mark.parametrize(("n_jobs", "threads"), [(1, False), (2, True)])
def test_one_thread_reads_where_one_was_asked_for(
    model: IcpModel,
    fresh: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_jobs: int,
    threads: bool,
) -> None:
    asked: list[object] = []
    batches = pq.ParquetFile.iter_batches

    def reading(self, *args, **kwargs):
        asked.append(kwargs.get("use_threads"))
        return batches(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", reading)
    fresh.to_parquet(tmp_path / "base.parquet")
    score_parquet(model, tmp_path / "base.parquet", tmp_path / "out", n_jobs=n_jobs)
    assert asked == [threads]


def test_texts_as_pandas_writes_them_are_read_as_dictionaries(
    model: IcpModel, fresh: pd.DataFrame, tmp_path: Path
) -> None:
    table = pa.Table.from_pandas(fresh, preserve_index=False)
    for kind in (pa.string(), pa.large_string()):
        place = table.schema.get_field_index("industry")
        pq.write_table(
            table.set_column(place, "industry", table["industry"].cast(kind)), tmp_path / "base.parquet"
        )
        (batch,) = sources.read_batches(tmp_path / "base.parquet", model.schema, 1_000)
        assert pa.types.is_dictionary(batch.schema.field("industry").type), kind
