"""Bundles: a folder of JSON and text with a manifest; complete or not there at all, and never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from icp_ml.errors import BundleError

FORMAT = 1
MANIFEST = "manifest.json"


def write_bundle(path: str | Path, parts: Mapping[str, Any]) -> None:
    """Write a folder under a temporary name beside ``path`` and rename it when it is complete.

    Parameters
    ----------
    path
        The folder. A bundle or empty folder that is there already is replaced; anything else is left alone.
    parts
        File name → content. Names ending in ``.json`` take anything JSON can hold (no NaN); others take text.

    Raises
    ------
    BundleError
        If ``path`` exists and is no bundle, or a part's name or content can't be written.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bundle(Path(folder) / "bundle", {"model.json": {"slope": 0.5}, "tree.txt": "tree"})
    ...     read_bundle(Path(folder) / "bundle")
    {'model.json': {'slope': 0.5}, 'tree.txt': 'tree'}
    """
    target = Path(path)
    files = {_checked_name(name): _as_bytes(name, content) for name, content in parts.items()}
    manifest = {
        "format": FORMAT,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    files[MANIFEST] = _as_bytes(MANIFEST, manifest)
    if target.exists() and not _replaceable(target):
        raise BundleError(
            f"expected a new folder, an empty one or an older bundle, found other content in {target}: "
            "give another path",
            path=str(target),
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, data in files.items():
            place = fresh / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        fresh.chmod(0o755)
        _swap(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


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
    source = Path(path)
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
    return target.is_dir() and ((target / MANIFEST).is_file() or not any(target.iterdir()))


def _swap(fresh: Path, target: Path) -> None:
    if not target.exists():
        fresh.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    try:
        # onto the empty folder just made, so that no other process can take the name
        os.replace(target, old)  # noqa: PTH105
        fresh.rename(target)
    finally:
        if not target.exists():
            os.replace(old, target)  # noqa: PTH105
        shutil.rmtree(old, ignore_errors=True)
