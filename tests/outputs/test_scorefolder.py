"""The folder of a score run: whole or as it was, resumed by content, shared with nobody's tables."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from icp_ml import swapping
from icp_ml.errors import ConfigError, OutputError, TableError
from icp_ml.serve.scorefolder import MOVING, STAGE, open_folder

from .killed import score, state_of_scores
from .test_writing import fail_at, names, refusal

OPEN = {"overwrite": False, "resume": False, "resumable": True}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    score(tmp_path / "out", "yesterday", 2)
    return tmp_path / "out"


@pytest.mark.parametrize("moved", [False, True])
def test_scores_are_old_or_new_whatever_call_fails(
    out: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    (out / "mine").mkdir(exist_ok=moved)
    if not moved:
        (out / "mine").rmdir()
    moment, refused = 1, 0
    while True:
        with monkeypatch.context() as patch:
            if moved:
                patch.setattr(swapping, "swap", lambda *args: (_ for _ in ()).throw(OSError(errno.EBUSY, "")))
            seen = fail_at(patch, moment)
            day = f"day {moment}"
            refused += refusal(lambda day=day, n=1 + moment % 2: score(out, day, n, overwrite=True))
        if not (out / MOVING).exists():
            state_of_scores(out)
        if seen[0] < moment:
            break
        moment += 5
    assert refused > 5
    score(out, "tomorrow", 1, overwrite=True)
    assert state_of_scores(out) == "tomorrow"
    assert not list(out.glob(".*"))
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_files_of_others_stay_and_tables_of_others_are_not_mixed_with_scores(out: Path) -> None:
    (out / "part-list-of-suppliers.xlsx").write_text("precious")
    (out / ".part-00000.parquet.backup").write_text("precious")
    score(out, "today", 1, overwrite=True)
    assert (out / "part-list-of-suppliers.xlsx").read_text() == "precious"
    assert (out / ".part-00000.parquet.backup").read_text() == "precious"
    (out / "region=EMEA").mkdir()
    strangers = ["part-00007.parquet", "region=EMEA/part-00000.parquet", "tier=A/part-00009.csv", "list.csv"]
    for name in strangers:
        (out / name).write_text("precious")
        for how in ({"overwrite": True}, {"resume": True}):
            with pytest.raises(ConfigError, match="no run of ours names") as caught:
                score(out, "tomorrow", 1, **how)
            assert caught.value.files == [name]
        assert (out / name).read_text() == "precious"
        (out / name).unlink()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"rows": 1}',
        '{"model_version": "1", "parts": [{"part": "../../x.parquet"}]}',
        '{"model_version": "1", "parts": [{"part": "part-00000.csv", "files": {"../part-00000.csv": "0"}}]}',
        '{"model_version": "1", "parts": [{"part": "part-00000.csv", "files": {"a=b/part-00000.csv": "0"}}]}',
    ],
)
def test_a_run_file_that_is_not_ours_names_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_scores.json").write_text(content)
    (tmp_path / "part-00000.csv").write_text("precious")
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(ConfigError, match="another file of that name"):
            score(tmp_path / "out", "today", 1, **how)
    assert names(tmp_path) == {"out/_scores.json", "part-00000.csv"}


def test_a_linked_partition_is_not_followed(out: Path, tmp_path: Path) -> None:
    (out / "tier=A").rename(tmp_path / "elsewhere")
    (out / "tier=A").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="no run of ours names"):
        score(out, "today", 1, overwrite=True)
    assert len(names(tmp_path / "elsewhere")) == 2


def test_a_run_goes_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    score(tmp_path / "out", "yesterday", 1)
    score(tmp_path / "out", "today", 2, overwrite=True)
    assert (tmp_path / "out").is_symlink()
    assert state_of_scores(tmp_path / "disk") == "today"


def test_resume_looks_at_bytes(out: Path) -> None:
    whole = {name: (out / name).read_bytes() for name in names(out)}
    damaged = out / "tier=A" / "part-00001.parquet"
    times = {name: (out / name).stat().st_mtime_ns for name in whole}
    damaged.write_bytes(bytes(len(damaged.read_bytes())))
    score(out, "yesterday", 2, resume=True)
    assert {name: (out / name).read_bytes() for name in names(out)} == whole
    kept = {name for name in whole if (out / name).stat().st_mtime_ns == times[name]}
    assert kept == {"tier=A/part-00000.parquet", "tier=B/part-00000.parquet"}


def test_scores_of_version_0_1_0_are_replaced_and_made_anew(out: Path) -> None:
    content = json.loads((out / "_scores.json").read_text())
    for part in content["parts"]:
        del part["files"]
    (out / "_scores.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="folder without scores"):
        score(out, "today", 1)
    score(out, "yesterday", 2, resume=True)
    assert state_of_scores(out) == "yesterday"
    entry = content["parts"][0]
    (out / "_scores.json").unlink()
    (out / "tier=A" / "part-00001.parquet").unlink()
    (out / "tier=B" / "part-00001.parquet").unlink()
    (out / f".{entry['part']}.json").write_text(json.dumps(entry))
    score(out, "today", 1, overwrite=True)
    assert state_of_scores(out) == "today"
    assert not list(out.glob(".*"))


def test_a_second_job_is_told_that_the_folder_is_held(out: Path) -> None:
    how = {**OPEN, "overwrite": True}
    with open_folder(out, "parquet", **how), pytest.raises(OutputError, match="another one writes there"):
        score(out, "today", 1, overwrite=True)
    assert state_of_scores(out) == "yesterday"
    assert not list(out.glob(".*"))


def test_rows_are_counted_at_the_end(tmp_path: Path) -> None:
    with (
        pytest.raises(TableError, match="expected 3 rows of scores"),
        open_folder(tmp_path / "out", "parquet", **OPEN) as folder,
    ):
        folder.close({"model_version": "1"}, [], 3)
    assert not (tmp_path / "out").exists()


def test_a_working_directory_keeps_being_one(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out)
    before = Path().stat().st_ino
    score(Path(), "today", 1, overwrite=True)
    assert out.stat().st_ino == before
    assert state_of_scores(out) == "today"
    assert not list(out.glob(".*"))


def test_a_hidden_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "out" / STAGE / "part-00000.parquet"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("precious")
    with pytest.raises(ConfigError, match="aren't ours"):
        score(tmp_path / "out", "today", 1, overwrite=True)
    assert theirs.read_text() == "precious"
