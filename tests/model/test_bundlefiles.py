"""Files of a bundle: nothing outside the folder is opened, nothing huge is read, one name is one file."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from icp_ml.errors import BundleError
from icp_ml.model.bundlefiles import MANIFEST, read_bundle
from icp_ml.model.store import write_bundle

PARTS = {"model.json": {"slope": 0.1}, "trees/one.txt": "tree\n"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle", PARTS)
    return tmp_path / "bundle"


def listed(bundle: Path, name: str, data: bytes = b"{}") -> None:
    """Put a file beside the others and its checksum into the manifest, as a stranger can."""
    place = bundle / name
    place.parent.mkdir(exist_ok=True, parents=True)
    place.write_bytes(data)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"][name] = hashlib.sha256(data).hexdigest()
    (bundle / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["model.json", "trees/one.txt", MANIFEST])
def test_a_link_in_place_of_a_file_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).rename(bundle.parent / "elsewhere")
    (bundle / name).symlink_to(bundle.parent / "elsewhere")
    with pytest.raises(BundleError, match="found a link") as caught:
        read_bundle(bundle)
    assert str(caught.value.link).endswith(name)


def test_a_linked_folder_within_is_refused(bundle: Path) -> None:
    (bundle / "trees").rename(bundle.parent / "trees")
    (bundle / "trees").symlink_to(bundle.parent / "trees", target_is_directory=True)
    with pytest.raises(BundleError, match="found a link"):
        read_bundle(bundle)


def test_a_link_that_nobody_names_is_refused_too(bundle: Path) -> None:
    (bundle / "trees" / "more").symlink_to("/", target_is_directory=True)
    with pytest.raises(BundleError, match="found a link"):
        read_bundle(bundle)


def test_the_folder_itself_may_be_linked(bundle: Path) -> None:
    (bundle.parent / "current").symlink_to(bundle, target_is_directory=True)
    assert read_bundle(bundle.parent / "current") == PARTS


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(bundle: Path) -> None:
    (bundle / "model.json").unlink()
    os.mkfifo(bundle / "model.json")
    with pytest.raises(BundleError, match=r"model\.json is missing"):
        read_bundle(bundle)


@pytest.mark.parametrize("name", ["model.json", MANIFEST, "trees/one.txt"])
def test_a_file_larger_than_any_model_is_refused_unread(bundle: Path, name: str) -> None:
    with (bundle / name).open("wb") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(BundleError, match="found 3,221,225,472"):
        read_bundle(bundle)


def test_the_whole_is_bounded_too(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icp_ml.model.bundlefiles.MOST_ALL_BYTES", 10)
    with pytest.raises(BundleError, match="the whole bundle: expected at most 10 bytes"):
        read_bundle(bundle)
    with pytest.raises(BundleError, match="the whole bundle"):
        write_bundle(bundle, PARTS)


@pytest.mark.parametrize(
    "name",
    [
        "Model.json",
        "more/model.json",
        "more/manifest.json",
        "./model.json",
        "trees//one.txt",
        "a b.json",
        "x.",
    ],
)
def test_one_name_is_one_file_and_one_model(bundle: Path, name: str) -> None:
    listed(bundle, name)
    with pytest.raises(BundleError, match="the name of a file inside the bundle"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    "name", ["../x.json", "/etc/hostname", "a\x00b", "C:x.json", ".hidden", "a/b/c/d/e.txt"]
)
def test_names_stay_inside_the_folder(bundle: Path, name: str) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"][name] = "0" * 64
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="the name of a file inside the bundle"):
        read_bundle(bundle)


def test_too_many_files_are_refused(bundle: Path) -> None:
    manifest = {"format": 1, "files": {f"f{place}": "0" * 64 for place in range(10_001)}}
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="at most 10,000 files, found 10,001"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"format": true, "files": {}}', b'{"format": 1, "files": {"a": 7}}', b"\xff", b"[1]"],
)
def test_a_manifest_of_another_shape_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError):
        read_bundle(bundle)


def test_text_that_is_no_utf8_is_refused_by_name(bundle: Path) -> None:
    listed(bundle, "two.txt", b"\xff\xfe")
    with pytest.raises(BundleError, match=r"two\.txt: expected text in UTF-8"):
        read_bundle(bundle)
