"""The numbers that can be squared and summed: anything further out lies at the end, anything nearer is 0.

The square of 1e200 is infinite and that of 1e-200 is 0, so that a spread of such a column is no number.
Between the ends nothing is touched.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEAST, MOST = 1e-140, 1e140


def within_span(values: Floats) -> Floats:
    """Return numbers within the span, unknown as NaN; the same array where all are already.

    Examples
    --------
    >>> within_span(np.array([1e-320, -1e308, 2.0, np.inf, np.nan])).tolist()
    [0.0, -1e+140, 2.0, nan, nan]
    """
    size = np.abs(values)
    if (size > MOST).any():
        values = np.where(np.isinf(size), np.nan, np.clip(values, -MOST, MOST))
    near = (size < LEAST) & (size > 0.0)
    if near.any():
        values = np.where(near, 0.0, values)
    return values
