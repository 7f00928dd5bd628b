"""Sums over random members of risk sets: outcomes handed to other accounts at risk, many times over."""

from __future__ import annotations

from typing import Any

from icp_ml.model.fasttree.jit import compiled


@compiled
def draw_sums(
    starts: Any,
    counts: Any,
    mass: Any,
    order: Any,
    uniform: Any,
    pointer: Any,
    column: Any,
    value: Any,
    out: Any,
) -> None:
    """Add up the bins of randomly chosen units, one row of ``out`` a draw.

    In risk set s, ``counts[s]`` of its units are chosen without replacement (the start of a Fisher-Yates
    shuffle) and weigh the next entries of ``mass``. ``order`` lists the units risk set by risk set from
    ``starts[s]`` on and is shuffled in place. ``uniform`` has a row per draw and a number per chosen unit.
    The bins of unit u are ``column[pointer[u]:pointer[u + 1]]`` with their ``value``.
    """
    for p in range(uniform.shape[0]):
        k = 0
        for s in range(len(counts)):
            low, high = starts[s], starts[s + 1]
            for i in range(counts[s]):
                place = low + i
                other = place + int(uniform[p, k] * (high - place))
                unit = order[other]
                order[other] = order[place]
                order[place] = unit
                weight = mass[k]
                for c in range(pointer[unit], pointer[unit + 1]):
                    out[p, column[c]] += weight * value[c]
                k += 1
