"""An outcome with two classes, as zeros and ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import assert_all_finite

from icp_ml.model.columns import Floats


def two_classes(y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Floats]:
    """Return the sorted classes, and per row 1.0 for the second of them.

    Raises
    ------
    ValueError
        If values are missing, continuous, or not of exactly two classes.

    Examples
    --------
    >>> classes, y = two_classes(np.array(["no", "yes", "no"]))
    >>> classes.tolist(), y.tolist()
    (['no', 'yes'], [0.0, 1.0, 0.0])
    """
    if y.dtype == object and pd.isna(y).any():
        raise ValueError(
            f"expected a known outcome in every row, found {int(pd.isna(y).sum())} missing: drop them"
        )
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    kind = type_of_target(y, input_name="y", raise_unknown=True)
    if kind != "binary":
        raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"expected two classes in y, found 1 class ({classes[0]!r}): there is nothing to learn"
        )
    return classes, codes.astype(np.float64)
