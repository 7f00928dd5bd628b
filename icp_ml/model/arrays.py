"""What compiled code must be given: shapes are held against each other before it, since it looks at none."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from icp_ml.errors import InputMismatchError


def check_shape(name: str, array: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape.

    Raises
    ------
    InputMismatchError
        If the shapes differ.
    """
    if array.shape != shape:
        raise InputMismatchError(
            f"expected {name} of shape {shape}, found {array.shape}: pass what belongs to one model",
            field=name,
            expected=shape,
            found=array.shape,
        )


def check_range(name: str, array: npt.NDArray[Any], end: int) -> None:
    """Refuse positions that aren't in 0 to ``end - 1``.

    Raises
    ------
    InputMismatchError
        If one lies outside, or they are no whole numbers.
    """
    if array.dtype.kind not in "iu":
        raise InputMismatchError(f"expected {name} to be whole numbers, found {array.dtype}", field=name)
    if len(array) and not (array.min() >= 0 and array.max() < end):
        found = int(array.min() if array.min() < 0 else array.max())
        raise InputMismatchError(
            f"expected {name} of 0 to {end - 1}, found {found}: pass what belongs to one model",
            field=name,
            expected=end,
            found=found,
        )


def check_finite(name: str, *arrays: npt.NDArray[np.float64]) -> None:
    """Refuse numbers that aren't finite.

    Raises
    ------
    InputMismatchError
        If one is NaN or infinite.
    """
    n_other = sum(int(array.size - np.isfinite(array).sum()) for array in arrays)
    if n_other:
        raise InputMismatchError(
            f"expected finite {name}, found {n_other} that aren't: save the model again",
            field=name,
            found=n_other,
        )
