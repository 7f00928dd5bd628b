"""Bundles: a folder of JSON and text with a manifest; complete or not there at all, and never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icp_ml.errors import BundleError
from icp_ml.model.bundlefiles import FORMAT, MANIFEST, check_names, check_sizes, listed
from icp_ml.swapping import fresh_folder, recover, swap
from icp_ml.writing import named, sync_file, sync_folder, write_file


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
    >>> from icp_ml.model.bundlefiles import read_bundle
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bundle(Path(folder) / "bundle", {"model.json": {"slope": 0.5}, "tree.txt": "tree"})
    ...     read_bundle(Path(folder) / "bundle")
    {'model.json': {'slope': 0.5}, 'tree.txt': 'tree'}
    """
    check_names(list(parts))
    files = {name: _as_bytes(name, content) for name, content in parts.items()}
    manifest = {
        "format": FORMAT,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    check_sizes({name: len(data) for name, data in files.items()})
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
        return {*listed(folder), MANIFEST}
    except BundleError as problem:
        if isinstance(problem.__cause__, OSError):
            raise problem.__cause__ from None  # it may be ours, and can't be read now
        return set()
