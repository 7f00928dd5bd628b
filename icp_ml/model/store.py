"""Bundles: a folder of JSON and text with a manifest; complete or not there at all, and never a pickle."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from icp_ml.errors import BundleError
from icp_ml.swapping import fresh_folder, recover, standing, swap
from icp_ml.writing import named, sync_file, sync_folder, write_file

FORMAT = 1
MANIFEST = "manifest.json"


def write_bundle(path: str | Path, parts: Mapping[str, Any]) -> None:
    """Write a folder under a temporary name beside ``path`` and give it the name when it is complete.

    Parameters
    ----------
    path
        The folder. An older bundle is replaced in one step, so that there is no moment without one; files
        that somebody put beside it stay. Any other folder is left alone.
    parts
        File name → content. Names ending in ``.json`` take anything JSON can hold (no NaN); others take text.

    Raises
    ------
    BundleError
        If ``path`` exists and is no bundle, or a part's name or content can't be written.
    OutputError
        If the system refuses to write; an older bundle is as it was.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bundle(Path(folder) / "bundle", {"model.json": {"slope": 0.5}, "tree.txt": "tree"})
    ...     read_bundle(Path(folder) / "bundle")
    {'model.json': {'slope': 0.5}, 'tree.txt': 'tree'}
    """
    files = {_checked_name(name): _as_bytes(name, content) for name, content in parts.items()}
    manifest = {
        "format": FORMAT,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    target = Path(path)
    if target.is_symlink():
        raise BundleError(
            f"expected a folder at {target}, found a link: name the folder it leads to", path=str(target)
        )
    with named(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target = target.parent.resolve() / target.name
        recover(target, _ours)
        if target.exists() and not _replaceable(target):
            raise BundleError(
                f"expected a new folder, an empty one or an older bundle, found other content in {target}: "
                "give another path",
                path=str(target),
            )
        with fresh_folder(target, _ours) as fresh:
            # The manifest first: if we are killed, it tells the next save which files here are ours.
            write_file(fresh / MANIFEST, _as_bytes(MANIFEST, manifest), called=target)
            for name, data in files.items():
                place = fresh / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
                sync_file(place)
            for inner in {(fresh / name).parent for name in files}:
                sync_folder(inner)
            swap(fresh, target, _ours)


def read_bundle(path: str | Path) -> dict[str, Any]:
    """Read every part of a bundle after checking it against its manifest.

    Parameters
    ----------
    path
        The folder that :func:`write_bundle` wrote.

    Raises
    ------
    BundleError
        If the folder is no bundle, has another format number, lacks a file, or a file was changed.
    """
    source = standing(Path(path))
    manifest = _read_manifest(source)
    parts: dict[str, Any] = {}
    for name, digest in manifest["files"].items():
        place = source / _checked_name(name)
        if not place.is_file():
            raise BundleError(
                f"expected {len(manifest['files'])} files in {source}, {name} is missing: "
                "copy the whole folder",
                path=str(source),
                missing=name,
            )
        data = place.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise BundleError(
                f"expected {name} with sha256 {digest[:12]}, found {found[:12]} in {source}: "
                "the file was changed after saving; save the model again",
                path=str(source),
                damaged=name,
            )
        text = data.decode("utf-8")
        parts[name] = json.loads(text) if name.endswith(".json") else text
    return parts


def _read_manifest(source: Path) -> dict[str, Any]:
    place = source / MANIFEST
    if not place.is_file():
        raise BundleError(
            f"expected a bundle folder with {MANIFEST}, found none in {source}: "
            "give the folder that save wrote",
            path=str(source),
        )
    try:
        manifest = json.loads(place.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise BundleError(
            f"expected JSON in {place}, found something else ({problem}): save the model again",
            path=str(source),
        ) from problem
    number = manifest.get("format") if isinstance(manifest, dict) else None
    if number != FORMAT:
        raise BundleError(
            f"expected bundle format {FORMAT}, found {number!r} in {source}: "
            "use the version of this package that wrote it, or save the model again",
            path=str(source),
            format=number,
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise BundleError(
            f"expected a checksum per file in {place}, found {type(files).__name__}: save the model again",
            path=str(source),
        )
    return dict(manifest)


def _checked_name(name: str) -> str:
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or name == MANIFEST:
        raise BundleError(
            f"expected the name of a file inside the bundle, found {name!r}: "
            "use letters, digits, '.', '_', '/'",
            name=name,
        )
    return name


def _as_bytes(name: str, content: Any) -> bytes:
    if not name.endswith(".json"):
        if not isinstance(content, str):
            raise BundleError(
                f"expected text for {name}, found {type(content).__name__}: name it .json or give text",
                name=name,
            )
        return content.encode("utf-8")
    try:
        return (json.dumps(content, allow_nan=False, ensure_ascii=False, indent=1) + "\n").encode("utf-8")
    except (TypeError, ValueError) as problem:
        raise BundleError(
            f"expected plain JSON for {name}, found something else ({problem}): convert it first", name=name
        ) from problem


def _replaceable(target: Path) -> bool:
    """Whether a folder is empty or a bundle, whole or with files missing; others in it come along."""
    return target.is_dir() and (not any(target.iterdir()) or bool(_ours(target)))


def _ours(folder: Path) -> set[str]:
    """Return the files in a folder that its manifest names; none if the manifest isn't one of ours."""
    try:
        manifest = _read_manifest(folder)
        names = {_checked_name(name) for name in manifest["files"]}
    except (BundleError, UnicodeError):
        return set()
    digests = all(re.fullmatch("[0-9a-f]{64}", digest) for digest in manifest["files"].values())
    return {*names, MANIFEST} if digests and set(manifest) == {"format", "files"} else set()
