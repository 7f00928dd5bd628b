from __future__ import annotations

import json
from pathlib import Path

import pytest

from icp_ml.errors import BundleError, OutputError
from icp_ml.model.bundlefiles import MANIFEST, read_bundle
from icp_ml.model.propensity import PropensityClassifier
from icp_ml.model.store import write_bundle

PARTS = {"model.json": {"slope": 0.1, "names": ["é", None]}, "trees/one.txt": "tree\n"}


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def bundle(tmp_path):
    write_bundle(tmp_path / "bundle", PARTS)
    return tmp_path / "bundle"


def test_what_is_written_is_read(bundle):
    assert read_bundle(bundle) == PARTS
    assert names(bundle.parent) == ["bundle"]


def test_same_parts_same_bytes(bundle, tmp_path):
    write_bundle(tmp_path / "again", PARTS)
    for file in ("manifest.json", *PARTS):
        assert (bundle / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_an_older_bundle_is_replaced_as_a_whole(bundle):
    write_bundle(bundle, {"other.txt": "new"})
    assert read_bundle(bundle) == {"other.txt": "new"}
    assert not (bundle / "model.json").exists()
    assert names(bundle.parent) == ["bundle"]


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("work")
    with pytest.raises(BundleError, match="another path"):
        write_bundle(tmp_path, PARTS)
    assert names(tmp_path) == ["thesis.txt"]


def test_nothing_appears_when_a_write_fails(tmp_path, monkeypatch):
    def full_disk(self, data):
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    with pytest.raises(OutputError, match="no space"):
        write_bundle(tmp_path / "bundle", PARTS)
    assert names(tmp_path) == []


def test_an_older_bundle_survives_a_failed_write(bundle, monkeypatch):
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda self, data: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OutputError, match="full"):
        write_bundle(bundle, {"other.txt": "new"})
    assert read_bundle(bundle) == PARTS


@pytest.mark.parametrize("file", ["model.json", "trees/one.txt"])
def test_a_changed_file_is_refused(bundle, file):
    (bundle / file).write_bytes((bundle / file).read_bytes() + b" ")
    with pytest.raises(BundleError, match="changed") as caught:
        read_bundle(bundle)
    assert caught.value.damaged == file


def test_a_lost_file_is_refused(bundle):
    (bundle / "model.json").unlink()
    with pytest.raises(BundleError, match=r"model\.json is missing"):
        read_bundle(bundle)


def test_another_format_is_refused(bundle):
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(BundleError, match="found 99"):
        read_bundle(bundle)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 1, "files": {"../../x": "00"}}'])
def test_a_damaged_manifest_is_refused(bundle, text):
    (bundle / MANIFEST).write_text(text)
    with pytest.raises(BundleError):
        read_bundle(bundle)


def test_no_folder_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "manifest.json", "", "a\\b.txt"])
def test_parts_stay_inside_the_folder(tmp_path, name):
    with pytest.raises(BundleError):
        write_bundle(tmp_path / "bundle", {name: "x"})


@pytest.mark.parametrize("parts", [{"a.json": float("nan")}, {"a.json": object()}, {"a.txt": 1}])
def test_content_that_is_neither_json_nor_text_is_refused(tmp_path, parts):
    with pytest.raises(BundleError):
        write_bundle(tmp_path / "bundle", parts)
    assert names(tmp_path) == []


def test_a_saved_classifier_holds_no_pickle(base, tmp_path):
    model = PropensityClassifier(n_bags=1, n_folds=2)
    state, texts = model.fit_features(base.features, base.schema, base.y).to_state()
    write_bundle(
        tmp_path / "bundle", {"state.json": state, **{f"{key}.txt": text for key, text in texts.items()}}
    )
    for file in (tmp_path / "bundle").rglob("*"):
        data = file.read_bytes()
        assert not data.startswith(b"\x80")
        data.decode("utf-8")
