"""Files and folders that leave the library: whole or as they were, and nobody else's."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from icp_ml import swapping, writing
from icp_ml.errors import BundleError, ConfigError, OutputError
from icp_ml.model.bundlefiles import MANIFEST, read_bundle
from icp_ml.model.store import write_bundle
from icp_ml.swapping import alone, exchange, standing
from icp_ml.writing import check_apart, check_no_input, replacing, write_file

OLD, NEW = {"a.json": 1, "trees/b.txt": "old"}, {"a.json": 2, "c.txt": "new"}
CALLS = ("rename", "replace", "link", "unlink", "mkdir", "fsync", "open")


def names(folder: Path) -> set[str]:
    return {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_symlink() or file.is_file()
    }


def fail_at(patch: pytest.MonkeyPatch, moment: int) -> list[int]:
    """Let the system refuse one call, the one of that number, with a full disk."""
    seen = [0]
    for name in CALLS:
        whole = getattr(os, name)

        def refusing(*args, call=whole, **more):
            seen[0] += 1
            if seen[0] == moment:
                raise OSError(errno.ENOSPC, "no space left")
            return call(*args, **more)

        patch.setattr(os, name, refusing)
    return seen


def refusal(job: Callable[[], object]) -> bool:
    """Whether a job was refused, which then names the output and what to do."""
    try:
        job()
    except OutputError as error:
        said = error
    else:
        return False
    assert said.errno == errno.ENOSPC
    assert "make room" in str(said)
    assert ".icp_ml-new" not in str(said)
    return True


def test_a_bundle_is_old_or_new_whatever_call_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "home" / "bundle"
    refused, moment = 0, 0
    while True:
        moment += 1
        write_bundle(target, OLD)
        (target / "notes.md").write_text("precious")
        with monkeypatch.context() as patch:
            seen = fail_at(patch, moment)
            refused += refusal(lambda: write_bundle(target, NEW))
        assert read_bundle(target) in (OLD, NEW)
        assert (target / "notes.md").read_text() == "precious"
        if seen[0] < moment:
            break
    assert refused > 10
    assert read_bundle(target) == NEW
    write_bundle(target, OLD)
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_a_file_is_old_or_new_whatever_call_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, moment = tmp_path / "report.html", 0
    file.write_text("old")
    while True:
        moment += 1
        with monkeypatch.context() as patch:
            seen = fail_at(patch, moment)
            try:
                write_file(file, "new")
            except OutputError:
                assert file.read_text() in ("old", "new")
        if seen[0] < moment:
            break
    assert moment > 4
    assert file.read_text() == "new"
    write_file(file, "newer")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_an_error_while_writing_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = write_file(tmp_path / "a" / "scores.parquet", "old")

    def interrupted() -> None:
        with replacing(file) as fresh:
            fresh.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_text() == "old"
    assert names(tmp_path) == {"a/scores.parquet"}


def test_rights_stay_and_links_devices_and_folders_are_refused(tmp_path: Path) -> None:
    file = write_file(tmp_path / "a.txt", "old")
    file.chmod(0o640)
    write_file(file, "new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "hanging").symlink_to(tmp_path / "nothing")
    for other in (tmp_path / "link", tmp_path / "hanging", tmp_path, Path(os.devnull)):
        with pytest.raises(OutputError, match="expected a file or nothing"):
            write_file(other, "x")
    with pytest.raises(OutputError, match="name another path"):
        write_file(file / "below", "x")
    with pytest.raises(OutputError, match="shorter path"):
        write_file(tmp_path / ("x" * 300), "x")
    assert file.read_text() == "new"
    assert write_file(tmp_path / ("é" * 120), "x").read_text() == "x"


def test_only_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    left = tmp_path / ".a.txt.0123456789abcdef.icp_ml-new"
    strange = [tmp_path / ".a.txt.new", tmp_path / ".a.txt.zz.icp_ml-new", tmp_path / ".b.txt.0.icp_ml-new"]
    for path in (left, *strange):
        path.write_text("x")
    with replacing(file) as fresh:
        assert not left.exists()
        write_file(file, "from another job")
        assert fresh.exists()  # held, so it's not swept
        fresh.write_text("mine")
    assert file.read_text() == "mine"
    assert all(path.exists() for path in strange)


@pytest.mark.parametrize(
    "manifest",
    ['{"name": "my app", "icons": []}', '{"format": 1, "files": {"x.js": "1"}}', "[]", "{", '{"format": 1}'],
)
def test_a_folder_whose_manifest_is_not_ours_is_left_alone(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "app" / "src").mkdir(parents=True)
    (tmp_path / "app" / MANIFEST).write_text(manifest)
    (tmp_path / "app" / "src" / "x.js").write_text("precious")
    with pytest.raises(BundleError, match="give another path"):
        write_bundle(tmp_path / "app", NEW)
    assert names(tmp_path) == {f"app/{MANIFEST}", "app/src/x.js"}


def test_what_somebody_put_beside_a_bundle_comes_along(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    write_bundle(target, OLD)
    (target / "trees" / "drawing.svg").write_text("precious")
    (target / "empty").mkdir()
    (target / "elsewhere").symlink_to(tmp_path)
    target.chmod(0o750)
    write_bundle(target, NEW)
    assert names(target) == {"a.json", "c.txt", MANIFEST, "trees/drawing.svg", "elsewhere"}
    assert (target / "empty").is_dir()
    assert stat.S_IMODE(target.stat().st_mode) == 0o750
    # kept, but no bundle is read past a link
    with pytest.raises(BundleError, match="found a link"):
        read_bundle(target)
    (target / "elsewhere").unlink()
    assert read_bundle(target) == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_bundle_is_not_written_over_a_file_or_through_a_link(tmp_path: Path) -> None:
    write_bundle(tmp_path / "v3", OLD)
    (tmp_path / "newest").symlink_to(tmp_path / "v3")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(BundleError, match="found a link"):
        write_bundle(tmp_path / "newest", NEW)
    with pytest.raises(BundleError, match="other content"):
        write_bundle(tmp_path / "file", NEW)
    with pytest.raises(OutputError):
        write_bundle(tmp_path / "file" / "below", NEW)
    assert read_bundle(tmp_path / "v3") == OLD
    assert (tmp_path / "file").read_text() == "precious"


def test_a_bundle_is_found_between_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "bundle"
    write_bundle(target, OLD)
    target.rename(tmp_path / f".bundle{swapping.OLD}")
    assert read_bundle(target) == OLD
    assert standing(tmp_path / "none") == tmp_path / "none"
    monkeypatch.setattr(swapping, "exchange", lambda left, right: False)
    write_bundle(target, NEW)
    assert read_bundle(target) == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_folders_change_names_in_one_step_where_the_system_can(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_file(tmp_path / name / "x", name)
    done = exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "x").read_text() == ("b" if done else "a")
    with pytest.raises(FileNotFoundError) if done else pytest.MonkeyPatch().context():
        exchange(tmp_path / "a", tmp_path / "nothing")


def test_a_folder_is_held_by_one_job(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(OutputError, match="another one writes there"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_outputs_lie_apart_from_inputs_also_through_links(tmp_path: Path) -> None:
    base = tmp_path / "base" / "region=EMEA"
    base.mkdir(parents=True)
    file = write_file(base / "part-0.parquet", "x")
    (tmp_path / "alias").symlink_to(tmp_path / "base")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "link.parquet").symlink_to(file)
    root = tmp_path / "base"
    for out in (
        root,
        base,
        tmp_path,
        root / "scores" / "deep",
        tmp_path / "alias" / "scores",
        Path(root.anchor),
    ):
        with pytest.raises(ConfigError, match="apart from the input") as caught:
            check_apart(out, folders=[root])
        assert "overwrite" not in str(caught.value)
    for out in (root, base, tmp_path, tmp_path / "alias", tmp_path / "inbox"):
        with pytest.raises(ConfigError, match="apart from the input"):
            check_apart(out, files=[tmp_path / "inbox" / "link.parquet"])
    check_apart(tmp_path / "scores", files=[file], folders=[root])
    check_apart(base / "new", files=[file])
    with pytest.raises(ConfigError, match="apart"):
        check_no_input(base / "scores.parquet", root, ["region=EMEA"])
    with pytest.raises(ConfigError, match="apart"):
        check_no_input(file, file)
    check_no_input(root / "scores" / "scores.parquet", root, ["accounts"])


def test_a_read_only_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args, **more):
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(writing, "_fresh_file", refuse)
    with pytest.raises(OutputError, match="may be written to") as caught:
        write_file(tmp_path / "a.txt", "x")
    assert caught.value.path == str(tmp_path / "a.txt")
