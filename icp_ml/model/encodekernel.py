"""Flags of levels and tools by numba: what the numpy paths in ``plans`` write."""

from __future__ import annotations

from typing import Any

from icp_ml.model.fasttree.jit import compiled


@compiled
def flag(codes: Any, lookup: Any, into: Any) -> None:
    """Write 1 into the column of each row's code, none where that is negative; the last one is of code -1."""
    last = len(lookup) - 1
    for r in range(len(codes)):
        column = lookup[codes[r]] if codes[r] >= 0 else lookup[last]
        if column >= 0:
            into[r, column] = 1.0


@compiled
def flag_tools(starts: Any, tools: Any, flags: Any, into: Any, n_tools: int) -> None:
    """Write 1 into the columns of each row's tools, and then how many have none and how many there are."""
    for r in range(len(starts) - 1):
        rare = 0
        for i in range(starts[r], starts[r + 1]):
            column = flags[tools[i]]
            if column >= 0:
                into[r, column] = 1.0
            else:
                rare += 1
        into[r, n_tools] = rare
        into[r, n_tools + 1] = starts[r + 1] - starts[r]
