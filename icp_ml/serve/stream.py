"""Scores for a whole account base: parquet in, parquet out, a batch in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from icp_ml.errors import ConfigError, TableError
from icp_ml.serve.score import NUMBERS, InputGaps, score_columns, score_rows

if TYPE_CHECKING:
    from icp_ml.serve.training import IcpModel

Source = str | Path | Sequence[str | Path]
Progress = Callable[[int, int], None]

RUN_FILE = "_scores.json"
_PART = "part-*.parquet"


@dataclass(frozen=True, slots=True)
class ScoreRun:
    """What :func:`score_parquet` wrote.

    Parameters
    ----------
    rows
        Accounts scored; equal to the rows read.
    files
        Parts written, in the order of the input files.
    path
        Folder of the parts.
    gaps
        What the input lacked or had that training never saw, over all files.
    """

    rows: int
    files: tuple[Path, ...]
    path: Path
    gaps: InputGaps


def score_parquet(
    model: IcpModel,
    source: Source,
    out: str | Path,
    *,
    reasons: int = 3,
    batch_rows: int = 65_536,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ScoreRun:
    """Score parquet files of features into a folder, one part per input file.

    Memory is bounded by ``batch_rows``, whatever the size of the base. A part appears under its name only
    when it's complete; the file ``_scores.json`` appears last, so a folder without it is an unfinished run.

    Parameters
    ----------
    model
        A trained model.
    source
        A file, a glob, a folder (all its ``*.parquet``, sorted, without scores of earlier runs), or a list of
        these.
    out
        Folder for the parts ``part-00000.parquet`` ...
    reasons
        Reasons and risks per account.
    batch_rows
        Rows in memory at a time.
    overwrite
        Replace the scores that are already in ``out``.
    progress
        Called after each batch with (rows done, rows in all).

    Returns
    -------
    Rows, files and the gaps of the input.

    Raises
    ------
    ConfigError
        ``out`` already holds scores and ``overwrite`` is False, or holds input files.
    TableError
        No parquet file was found, a file can't be read, or a part doesn't have the rows of its input.
    InputMismatchError
        A file lacks the account column, or a column can't be read as the model knows it.

    Warns
    -----
    InputWarning
        Once for all files: absent columns, unseen levels and tools, with counts.
    """
    if batch_rows < 1:
        raise ConfigError(f"expected batch_rows of at least 1, found {batch_rows}", batch_rows=batch_rows)
    inputs = find_files(source)
    folder = Path(out)
    sizes = [_rows_of(path) for path in inputs]
    _clear(folder, inputs, overwrite=overwrite)
    schema = _arrow_schema(model, reasons)
    gaps, parts = InputGaps(), []
    for number, (path, size) in enumerate(zip(inputs, sizes, strict=True)):
        part = folder / f"part-{number:05d}.parquet"
        done = sum(sizes[:number])
        for batch_gaps in _score_file(model, path, part, schema, reasons=reasons, batch_rows=batch_rows):
            gaps += batch_gaps
            if progress is not None:
                progress(gaps.rows, sum(sizes))
        _check_rows(part, expected=size, written=gaps.rows - done)
        parts.append(part)
    _write_run_file(folder, model, parts, sizes, inputs)
    gaps.warn(stacklevel=2)
    return ScoreRun(gaps.rows, tuple(parts), folder, gaps)


def find_files(source: Source) -> list[Path]:
    """Return the parquet files a source names, each once, in a fixed order.

    Raises
    ------
    TableError
        A name matches no file.
    """
    names = [source] if isinstance(source, str | Path) else list(source)
    found: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        if path.is_file():
            matches = [path]
        elif path.is_dir():
            matches = sorted(found for found in path.rglob("*.parquet") if _is_input(found))
        else:
            root = Path(path.anchor)
            matches = sorted(root.glob(str(path.relative_to(root))))
        if not matches:
            raise TableError(
                f"expected parquet files at {name}, found none: check the path", source=str(name)
            )
        found.update(dict.fromkeys(matches))
    if not found:
        raise TableError("expected at least one parquet file, found an empty list", source=[])
    return list(found)


def _is_input(path: Path) -> bool:
    """Leave out hidden files and the scores of an earlier run, which may lie in a folder below the input."""
    return not path.name.startswith(("_", ".")) and not (path.parent / RUN_FILE).exists()


def _score_file(
    model: IcpModel, path: Path, part: Path, schema: Any, *, reasons: int, batch_rows: int
) -> Iterator[InputGaps]:
    """Score one file into one part, yielding the gaps of each batch; rename the part when complete."""
    unfinished = part.with_name(f".{part.name}.unfinished")
    with pq.ParquetFile(path) as reader, pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        for batch in reader.iter_batches(batch_size=batch_rows):
            frame = batch.to_pandas(types_mapper=_list_columns)
            scores, gaps = score_rows(model, frame, reasons=reasons)
            writer.write_table(pa.Table.from_pandas(scores, schema=schema, preserve_index=False))
            yield gaps
    unfinished.replace(part)


def _list_columns(kind: Any) -> pd.ArrowDtype | None:
    """Keep lists as Arrow lists: a Python list per account is many times larger."""
    return pd.ArrowDtype(kind) if pa.types.is_list(kind) or pa.types.is_large_list(kind) else None


def _arrow_schema(model: IcpModel, reasons: int) -> Any:
    kinds = {"as_of": pa.timestamp("us"), **dict.fromkeys(NUMBERS, pa.float64())}
    fields = [pa.field(name, kinds.get(name, pa.string())) for name in score_columns(reasons)]
    facts = {
        "icp_ml.model_version": model.version,
        "icp_ml.dataset_fingerprint": str(model.facts.get("dataset_fingerprint", "")),
    }
    return pa.schema(fields, metadata=facts)


def _rows_of(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"expected a parquet file, found {path}: {error}", path=str(path)) from error


def _clear(folder: Path, inputs: list[Path], *, overwrite: bool) -> None:
    """Make the folder ready for new parts; refuse to touch scores or inputs that are in it."""
    folder.mkdir(parents=True, exist_ok=True)
    inside = [path for path in inputs if path.resolve().parent == folder.resolve()]
    if inside:
        raise ConfigError(
            f"expected an output folder apart from the input, found {len(inside)} input files in {folder}: "
            "name another folder",
            folder=str(folder),
        )
    present = sorted(folder.glob(_PART)) + sorted(folder.glob(RUN_FILE))
    if present and not overwrite:
        raise ConfigError(
            f"expected a folder without scores, found {len(present)} files such as {present[0].name} in "
            f"{folder}: name another folder or pass overwrite=True",
            folder=str(folder),
            files=len(present),
        )
    for path in present:
        path.unlink()


def _check_rows(part: Path, *, expected: int, written: int) -> None:
    found = _rows_of(part)
    if not expected == written == found:
        raise TableError(
            f"expected {expected} rows in {part.name}, scored {written} and found {found}: was the input "
            "replaced meanwhile? Score it again",
            expected=expected,
            found=found,
        )


def _write_run_file(
    folder: Path, model: IcpModel, parts: list[Path], sizes: list[int], inputs: list[Path]
) -> None:
    content = {
        "model_version": model.version,
        "dataset_fingerprint": model.facts.get("dataset_fingerprint"),
        "rows": sum(sizes),
        "parts": [
            {"part": part.name, "rows": rows, "source": source.name}
            for part, rows, source in zip(parts, sizes, inputs, strict=True)
        ],
    }
    unfinished = folder / f".{RUN_FILE}.unfinished"
    unfinished.write_text(json.dumps(content, indent=1), encoding="utf-8")
    unfinished.replace(folder / RUN_FILE)
