"""Bundles: a folder of JSON and text with a manifest; complete or not there at all, and never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icp_ml.errors import BundleError
from icp_ml.model.bundlefiles import FORMAT, MANIFEST, check_names, check_sizes


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
    >>> from icp_ml.model.bundlefiles import read_bundle
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bundle(Path(folder) / "bundle", {"model.json": {"slope": 0.5}, "tree.txt": "tree"})
    ...     read_bundle(Path(folder) / "bundle")
    {'model.json': {'slope': 0.5}, 'tree.txt': 'tree'}
    """
    target = Path(path)
    check_names(list(parts))
    files = {name: _as_bytes(name, content) for name, content in parts.items()}
    manifest = {
        "format": FORMAT,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    check_sizes({name: len(data) for name, data in files.items()})
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
