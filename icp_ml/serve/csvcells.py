"""Scores as csv that a spreadsheet only shows: no cell is a formula, no control character is left raw.

Numbers stay numbers. A text that a spreadsheet would take for a formula (``=``, ``+``, ``-``, ``@``, also
after blanks and quotes and in full width) gets one apostrophe before it, as OWASP's *CSV Injection* advises;
all other texts stay, so that ids go on joining. :func:`icp_ml.visible.formula_read_back` takes it off;
parquet holds every id as it was given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from icp_ml.visible import formula_safe, visible

#: First bytes of what :data:`icp_ml.visible.FORMULA` may match; most texts begin with none of them.
_STARTS = np.zeros(256, dtype=bool)
_STARTS[[*b"=+-@ '\"`\x00\xc2\xe2\xe3\xef"]] = True
_FIRST_SHOWN, _LAST_PLAIN = 0x20, 0x7E


def csv_cells(table: Any) -> tuple[Any, int]:
    """Return a table whose names and texts are safe in a spreadsheet and on a terminal, and how many changed.

    Examples
    --------
    >>> table, changed = csv_cells(pa.table({"id": ["=1+1", "a"], "x": [-1.0, 2.0]}))
    >>> table.to_pylist(), changed
    ([{'id': "'=1+1", 'x': -1.0}, {'id': 'a', 'x': 2.0}], 1)
    """
    columns, changed = [], 0
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column, n = _safe_texts(column)
            changed += n
        columns.append(column)
    return pa.table(columns, names=[csv_cell(name) for name in table.column_names]), changed


def csv_cell(text: str) -> str:
    """Return one text as a safe cell."""
    return formula_safe(visible(text, one_line=True))


def _safe_texts(column: Any) -> tuple[Any, int]:
    chunks, changed = [], 0
    for chunk in column.chunks:
        rows = np.flatnonzero(_suspects(chunk))
        if len(rows):
            cells = chunk.to_pylist()
            for row in rows:
                safe = csv_cell(cells[row])
                changed += safe != cells[row]
                cells[row] = safe
            chunk = pa.array(cells, type=chunk.type)
        chunks.append(chunk)
    return pa.chunked_array(chunks, type=column.type), changed


def _suspects(chunk: Any) -> npt.NDArray[np.bool_]:
    """Return the rows that may have to change, by the bytes of all texts at once."""
    wide = pa.types.is_large_string(chunk.type)
    _, ends, data = chunk.buffers()
    if data is None or data.size == 0:
        return np.zeros(len(chunk), dtype=bool)
    offsets = np.frombuffer(ends, dtype=np.int64 if wide else np.int32)
    offsets = offsets[chunk.offset : chunk.offset + len(chunk) + 1]
    held = np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]]
    filled = np.flatnonzero(np.diff(offsets) > 0)
    found = np.zeros(len(chunk), dtype=bool)
    if len(filled) == 0:
        return found
    found[filled] = _STARTS[held[offsets[filled] - offsets[0]]]
    if held.min() < _FIRST_SHOWN or held.max() > _LAST_PLAIN:
        odd = pc.match_substring_regex(chunk, r"[^ -~]").fill_null(False)
        found |= odd.to_numpy(zero_copy_only=False)
    if chunk.null_count:
        found &= chunk.is_valid().to_numpy(zero_copy_only=False)
    return found
