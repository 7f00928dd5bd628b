"""What all kernels share: how numba compiles them, and a search for many values at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile at the first call, keep the code on disk, hold no lock while it runs."""
    return cast("F", numba.njit(cache=True, nogil=True)(function))


@compiled
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
