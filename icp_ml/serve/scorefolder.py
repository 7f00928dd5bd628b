"""The folder of a score run: the scores of yesterday stay whole under their names until those of today are.

A run works in a hidden folder inside the output folder. Once every part is there, the hidden folder changes
names with the output folder in one step (:mod:`icp_ml.swapping`). Where that can't be done (a mount, a
working directory, no right to the folder above) the parts are moved in one by one, and the next run finishes
a move that was killed. Nothing is removed but what ``_scores.json`` or a note of ours names.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from icp_ml.errors import ConfigError, TableError
from icp_ml.serve.runfile import (
    BUCKETS,
    MARK,
    MARK_TEXT,
    digest,
    is_marked,
    is_whole,
    ours,
    read_object,
    read_run,
    run_files,
)
from icp_ml.serve.scoreparts import UNFINISHED, Format, rows_in, staged_files, unfinished
from icp_ml.serve.sources import ENDINGS, RUN_FILE
from icp_ml.swapping import alone, clear, recover, swap
from icp_ml.writing import fresh_name, make_folder, named, sweep_files, sync_file, sync_folder, write_file

STAGE = ".icp_ml-unfinished"
MOVING = ".icp_ml-finished"


class ScoreFolder:
    """An output folder that this process holds; made by :func:`open_folder`."""

    def __init__(self, shown: Path, path: Path, format: Format, *, resume: bool) -> None:
        self._shown = shown
        self._path = path
        self._format: Format = format
        self._run = read_run(path) if resume else None
        self._rows = 0
        self.stage = path / STAGE

    def part(self, number: int) -> Path:
        """Return where a part is written."""
        return self.stage / f"part-{number:05d}.{self._format}"

    def kept(self, part: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the note of a part that a run to resume finished, if it is the one wanted, byte for byte."""
        with named(self._shown):
            entry = self._kept(part, wanted)
        if entry is not None:
            self._rows += entry["rows"]
        return entry

    def _kept(self, part: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        note = read_object(_note(part)) or {}
        names = {file.relative_to(self.stage).as_posix(): file for file in staged_files(part)}
        found = {name.removesuffix(UNFINISHED): file for name, file in names.items()}
        entry = note if is_whole(note, wanted, found) else None
        if entry is None:
            for file in (*found.values(), _note(part)):
                file.unlink(missing_ok=True)
            entry = self._from_last_run(part, wanted)
        return entry

    def _from_last_run(self, part: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        entries = [] if self._run is None else self._run["parts"]
        for entry in entries:
            files = {name: self._path / name for name in entry.get("files", {})}
            if entry["part"] == part.name and is_whole(entry, wanted, files):
                for name, file in files.items():
                    _same_file(file, unfinished(self.stage / name))
                write_file(_note(part), _text(entry), called=self._shown)
                return dict(entry)
        return None

    def finish(self, part: Path, wanted: Mapping[str, Any], scored: Any) -> dict[str, Any]:
        """Check the rows of a part by reading it again, and note beside it what it was made of.

        Raises
        ------
        TableError
            The part doesn't have the rows of its input.
        """
        files = staged_files(part)
        found = sum(rows_in(file, self._format) for file in files)
        if not wanted["rows"] == scored.rows == found:
            raise TableError(
                f"expected {wanted['rows']} rows in {part.name}, scored {scored.rows} and found {found}: was "
                "the input replaced meanwhile? Score it again",
                expected=wanted["rows"],
                found=found,
            )
        self._rows += found
        digests = {file.relative_to(self.stage).as_posix().removesuffix(UNFINISHED): file for file in files}
        with named(self._shown):
            entry = {"part": part.name, **wanted, "bytes": sum(file.stat().st_size for file in files)}
            entry["files"] = {name: digest(file) for name, file in digests.items()}
        entry |= {"missing": dict(scored.missing), "unseen": dict(scored.unseen)}
        write_file(_note(part), _text(entry), called=self._shown)
        return entry

    def close(
        self, facts: Mapping[str, Any], entries: list[dict[str, Any]], rows_read: int
    ) -> tuple[Path, ...]:
        """Give the parts their names, all at once; return them.

        Raises
        ------
        TableError
            The parts don't have the rows that were read.
        OutputError
            The system refuses; the scores of the last run are as they were.
        """
        if self._rows != rows_read:
            raise TableError(
                f"expected {rows_read} rows of scores in {self._shown}, found {self._rows}: score them again",
                expected=rows_read,
                found=self._rows,
            )
        rows = {"rows": self._rows, "rows_in": rows_read, "rows_out": self._rows}
        files = [name for entry in entries for name in entry["files"]]
        with named(self._shown):
            content = _text({**facts, **rows, "parts": entries})
            write_file(self.stage / RUN_FILE, content, called=self._shown)
            keep = {MARK, RUN_FILE, *(f"{name}{UNFINISHED}" for name in files)}
            _discard(self.stage, ours(self.stage) - keep)
            for home in {(self.stage / name).parent for name in files} | {self.stage}:
                sync_folder(home)
            if not self._swapped(files):
                self.stage.rename(self._path / MOVING)
                _move_in(self._path)
        return tuple(self._shown / name for name in files)

    def _swapped(self, files: list[str]) -> bool:
        """Let the hidden folder and this one change names, if the system and everybody in it allow that."""
        with suppress(FileNotFoundError):
            if Path.cwd().is_relative_to(self._path):  # a shell stands in it
                return False
        fresh = fresh_name(self._path)
        try:
            self.stage.rename(fresh)
        except OSError:
            return False
        try:
            for name in files:
                unfinished(fresh / name).rename(fresh / name)
            for home in {(fresh / name).parent for name in files}:
                sync_folder(home)
            (fresh / MARK).unlink()
            swap(fresh, self._path, ours)
        except OSError:
            for name in files:
                with suppress(FileNotFoundError):
                    (fresh / name).rename(unfinished(fresh / name))
            write_file(fresh / MARK, _text(MARK_TEXT), called=self._shown)
            fresh.rename(self.stage)
            return False
        clear(fresh, self._path, ours)
        return True

    def leave(self, *, keep: bool) -> None:
        """Remove the hidden folder, unless a later run can go on with its parts."""
        if self.stage.is_dir() and not (keep and any(self.stage.glob("part-*.json"))):
            with suppress(OSError):
                _discard(self.stage, ours(self.stage))


@contextmanager
def open_folder(
    out: str | Path, format: Format, *, overwrite: bool, resume: bool, resumable: bool
) -> Iterator[ScoreFolder]:
    """Hold a folder for a run; refuse one with scores that may not be replaced, or with others' tables.

    Raises
    ------
    ConfigError
        Scores are there and neither ``overwrite`` nor ``resume`` is given, or tables that aren't ours.
    OutputError
        The system refuses, or another job writes there.
    """
    if overwrite and resume:
        raise ConfigError("expected overwrite or resume, found both: parts are replaced or kept")
    shown = Path(out)
    with named(shown):
        path = shown.resolve()
        if path.parent.is_dir() and not path.exists():
            recover(path, ours)
        new = not path.exists()
        make_folder(shown)
    with alone(path):
        with named(shown):
            _move_in(path)
            recover(path, ours)
            _check_free(shown, path, may_replace=overwrite or resume, resumable=resumable)
            _lay_stage(path, keep=resume)
        folder = ScoreFolder(shown, path, format, resume=resume)
        try:
            yield folder
        finally:
            folder.leave(keep=resumable)
            if new:
                with suppress(OSError):  # only if nothing is in it
                    path.rmdir()


def _check_free(shown: Path, path: Path, *, may_replace: bool, resumable: bool) -> None:
    run_file = path / RUN_FILE
    if os.path.lexists(run_file) and read_run(path) is None:
        raise ConfigError(
            f"expected the {RUN_FILE} of a score run in {shown}, found another file of that name: name "
            "another folder",
            folder=str(shown),
        )
    known = ours(path)
    present = sorted(known - {RUN_FILE})
    staged = sorted((path / STAGE).glob("part-*.json")) if is_marked(path / STAGE) else []
    if (known or (staged and resumable)) and not may_replace:
        some = present[0] if present else RUN_FILE if known else f"{STAGE}/{staged[0].name}"
        how = "overwrite=True or resume=True" if resumable else "overwrite=True"
        raise ConfigError(
            f"expected a folder without scores, found {len(known) or len(staged)} files such as {some} of an "
            f"earlier run in {shown}: name another folder, or pass {how}, which replaces only that run's "
            "files and only when the new ones are whole",
            folder=str(shown),
            files=len(known) or len(staged),
        )
    others = [
        file.relative_to(path).as_posix()
        for file in [*path.iterdir(), *path.glob("*=*/*")]
        if file.name.endswith(ENDINGS) and not file.name.startswith((".", "_"))
    ]
    strangers = sorted(set(others) - known)
    if strangers:
        raise ConfigError(
            f"expected a folder of its own for the scores, found {len(strangers)} tables that no run of ours "
            f"names, such as {strangers[0]}, in {shown}: name another folder, or rows of both would be read "
            "as one table",
            folder=str(shown),
            files=strangers[:5],
        )


def _lay_stage(path: Path, *, keep: bool) -> None:
    """Make the hidden folder, or take up that of an interrupted run."""
    stage = path / STAGE
    if is_marked(stage):
        _discard(stage, {name for name in ours(stage) if name.startswith(f"{BUCKETS}/")})
        if keep:
            return
        _discard(stage, ours(stage))
    stage.mkdir(exist_ok=True)
    sweep_files(stage / MARK)
    if stage.is_symlink() or any(stage.iterdir()):
        raise ConfigError(
            f"expected {stage} to be free for the parts of this run, found files that aren't ours in it: "
            "name another output folder",
            folder=str(stage),
        )
    write_file(stage / MARK, _text(MARK_TEXT), called=path)


def _move_in(path: Path) -> None:
    """Move the parts of a finished run from the hidden folder to their names; also after a kill meanwhile."""
    moving = path / MOVING
    if not is_marked(moving):
        if moving.is_dir() and not moving.is_symlink():
            with suppress(OSError):  # only if nothing is in it
                moving.rmdir()
        return
    run = read_run(moving)
    if run is not None:
        gone = ours(path)
        _unlink(path, gone - {RUN_FILE})
        _unlink(path, gone & {RUN_FILE})
        for name in run_files(moving, run):
            for file in (unfinished(moving / name), moving / name):
                if file.exists():
                    (path / name).parent.mkdir(exist_ok=True)
                    file.replace(path / name)
            sync_folder((path / name).parent)
        (moving / RUN_FILE).replace(path / RUN_FILE)
        sync_folder(path)
    _discard(moving, ours(moving))


def _same_file(old: Path, new: Path) -> None:
    """Let a file have a second name; copy it where a file has only one."""
    new.parent.mkdir(exist_ok=True)
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)
        sync_file(new)


def _discard(folder: Path, names: set[str]) -> None:
    """Remove files of ours from a hidden folder and folders with nothing in them, the mark last."""
    _unlink(folder, names - {MARK})
    for home, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            Path(home).rmdir()
    _unlink(folder, names & {MARK})
    with suppress(OSError):
        folder.rmdir()


def _unlink(folder: Path, names: set[str]) -> None:
    for name in sorted(names):
        (folder / name).unlink(missing_ok=True)
    for home in {(folder / name).parent for name in names} - {folder}:
        with suppress(OSError):  # only if nothing is in it
            home.rmdir()


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1)
