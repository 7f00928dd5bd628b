"""What may be scored: matrices, frames and sparse matrices, read block by block as float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from icp_ml.errors import InputMismatchError
from icp_ml.model.columns import Floats
from icp_ml.model.fasttree.parse import Forest

MAX_NAMES = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of an input.

    Parameters
    ----------
    n
        How many.
    block
        From first row and end to a float64 matrix of these rows, in whatever order of memory.
    """

    n: int
    block: Callable[[int, int], Floats]


def read_rows(X: Any, forest: Forest) -> Rows:
    """Check an input against a model and return its rows.

    Whole numbers are read as float64. (LightGBM reads integer arrays as float32, which moves numbers above
    2 ** 24.)

    Raises
    ------
    InputMismatchError
        On another number of columns, columns in another order, or values that aren't numbers.
    """
    n_features = len(forest.feature_names)
    if isinstance(X, pd.DataFrame):
        return _from_frame(X, forest)
    if sparse.issparse(X):
        matrix = sparse.csr_matrix(X)
        _check_width(matrix.shape, n_features)
        return Rows(
            matrix.shape[0], lambda low, high: np.ascontiguousarray(matrix[low:high].toarray(), np.float64)
        )
    values = np.asarray(X)
    if values.dtype.kind not in "fiub":
        raise InputMismatchError(
            f"expected a matrix of numbers, found values of type {values.dtype}: encode them as for training",
            dtype=str(values.dtype),
        )
    _check_width(values.shape, n_features)
    return Rows(len(values), lambda low, high: np.asarray(values[low:high], dtype=np.float64))


def _check_width(shape: tuple[int, ...], n_features: int) -> None:
    if len(shape) != 2 or shape[1] != n_features:
        raise InputMismatchError(
            f"expected a matrix with {n_features} columns, found shape {shape}: pass all",
            expected=n_features,
            found=shape,
        )


def _from_frame(X: pd.DataFrame, forest: Forest) -> Rows:
    """Read a frame as LightGBM does: category columns become the codes of the levels seen in training."""
    _check_width(X.shape, len(forest.feature_names))
    names = tuple(str(name).replace(" ", "_") for name in X.columns)
    if names != forest.feature_names and set(names) == set(forest.feature_names):
        moved = [name for name, own in zip(names, forest.feature_names, strict=True) if name != own]
        raise InputMismatchError(
            f"expected the columns in the order of training, found {len(moved)} elsewhere "
            f"({', '.join(moved[:MAX_NAMES])}): reorder them",
            columns=moved,
        )
    coded = [i for i, dtype in enumerate(X.dtypes) if isinstance(dtype, pd.CategoricalDtype)]
    if len(coded) != len(forest.categories):
        raise InputMismatchError(
            f"expected {len(forest.categories)} category columns, found {len(coded)}: "
            "use the dtypes of training",
            expected=len(forest.categories),
            found=len(coded),
        )
    other = [str(name) for name, dtype in zip(X.columns, X.dtypes, strict=True) if _not_a_number(dtype)]
    if other:
        raise InputMismatchError(
            f"expected numbers and categories, found other types in {len(other)} columns "
            f"({', '.join(other[:MAX_NAMES])}): encode them as for training",
            columns=other,
        )
    levels = dict(zip(coded, forest.categories, strict=True))

    def block(low: int, high: int) -> Floats:
        part = X.iloc[low:high]
        out = np.empty(part.shape)
        for i in range(part.shape[1]):
            column = part.iloc[:, i]
            if i in levels:
                codes = column.cat.set_categories(list(levels[i])).cat.codes.to_numpy()
                out[:, i] = np.where(codes < 0, np.nan, codes)
            else:
                out[:, i] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return out

    return Rows(len(X), block)


def _not_a_number(dtype: Any) -> bool:
    return not (
        isinstance(dtype, pd.CategoricalDtype)
        or pd.api.types.is_numeric_dtype(dtype)
        or pd.api.types.is_bool_dtype(dtype)
    )
