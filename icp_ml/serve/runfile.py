"""What is ours in a folder of scores: what its run file, a note or the mark of an unfinished run names."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icp_ml.serve.scoreparts import PART_NAME, PART_PATH, PARTITIONS, UNFINISHED
from icp_ml.serve.sources import RUN_FILE

MARK = "_unfinished.json"
MARK_TEXT = {"content": "icp_ml scores of a run that isn't finished"}
BUCKETS = "buckets"
_STAGED = re.compile(
    rf"{re.escape(MARK)}|{re.escape(RUN_FILE)}|{PART_PATH.pattern}({re.escape(UNFINISHED)}|\.json)?"
    rf"|{BUCKETS}/[a-z_]+-\d+\.arrow|\.[^/]+\.[0-9a-f]{{16}}\.icp_ml-new"
)
_OLD_NOTE = re.compile(rf"\.{PART_NAME.pattern}\.json")


def ours(folder: Path) -> set[str]:
    """Return the files in a folder that a manifest, a note or the mark of a run of ours names."""
    found: set[str] = set()
    if is_marked(folder):
        inside = (file.relative_to(folder).as_posix() for file in folder.rglob("*"))
        found |= {name for name in inside if _STAGED.fullmatch(name)}
    run = read_run(folder)
    if run is not None:
        found |= {RUN_FILE, *run_files(folder, run)}
    for note in folder.glob(".part-*.json"):  # a run of version 0.1.0 that was interrupted
        entry = read_object(note) if _OLD_NOTE.fullmatch(note.name) else None
        if entry is not None and is_entry(entry) and note.name == f".{entry['part']}.json":
            found |= {note.name, *_entry_files(folder, entry)}
    return {name for name in found if _is_plain(folder / name, folder)}


def read_run(folder: Path) -> dict[str, Any] | None:
    """Return the run file of a folder, None without one that is ours."""
    content = read_object(folder / RUN_FILE)
    parts = None if content is None else content.get("parts")
    if content is None or not isinstance(parts, list) or "model_version" not in content:
        return None
    return content if all(map(is_entry, parts)) else None


def run_files(folder: Path, run: Mapping[str, Any]) -> list[str]:
    """Return the names of the files of all parts of a run."""
    return [name for entry in run["parts"] for name in _entry_files(folder, entry)]


def is_marked(folder: Path) -> bool:
    """Whether a folder is the hidden one of a run of ours."""
    return not folder.is_symlink() and read_object(folder / MARK) == MARK_TEXT


def digest(file: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_entry(entry: Any) -> bool:
    """Whether this is what a run notes about a part, with no name that leads out of the folder."""
    if not isinstance(entry, dict) or not PART_NAME.fullmatch(str(entry.get("part"))):
        return False
    files = entry.get("files", {})
    return isinstance(files, dict) and all(
        PART_PATH.fullmatch(name) and isinstance(value, str) for name, value in files.items()
    )


def _entry_files(folder: Path, entry: Mapping[str, Any]) -> list[str]:
    """Return the files of a part; version 0.1.0 noted only its name and what it was split by."""
    if "files" in entry:
        return list(entry["files"])
    by, part = entry.get("partition_by"), entry["part"]
    if by not in PARTITIONS:
        return [part]
    return [file.relative_to(folder).as_posix() for file in sorted(folder.glob(f"{by}=*/{part}"))]


def is_whole(entry: Mapping[str, Any], wanted: Mapping[str, Any], files: Mapping[str, Path]) -> bool:
    """Whether a part is the one wanted, and its files have the bytes that were noted."""
    noted = entry.get("files")
    if not noted or set(noted) != set(files) or any(entry.get(name) != wanted[name] for name in wanted):
        return False
    if not all(isinstance(entry.get(name), dict) for name in ("missing", "unseen")):
        return False
    return all(file.is_file() and digest(file) == noted[name] for name, file in files.items())


def _is_plain(file: Path, folder: Path) -> bool:
    """Whether a file is there itself, not behind a link."""
    return (
        file.is_file() and not file.is_symlink() and (file.parent == folder or not file.parent.is_symlink())
    )


def read_object(file: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, None if there is no such."""
    try:
        content = None if file.is_symlink() else json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
