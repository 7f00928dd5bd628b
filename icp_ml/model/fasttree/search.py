"""Binary search of many values at once, compiled by numba."""

from __future__ import annotations

from typing import Any

import numba


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def count_below(cuts: Any, x: Any, place: Any) -> None:
    """Write how many of the sorted cuts, one at least, lie below each value; 0 for NaN.

    All values take a step together: steps are guessed wrong by no branch, and don't wait for each other.
    """
    for r in range(len(x)):
        place[r] = 0
    size = len(cuts)
    while size > 1:
        half = size >> 1
        for r in range(len(x)):
            place[r] += half if cuts[place[r] + half - 1] < x[r] else 0
        size -= half
    for r in range(len(x)):
        place[r] += 1 if cuts[place[r]] < x[r] else 0
