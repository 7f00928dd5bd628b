"""What a fit is given, checked: settings, an outcome with two classes, and how much each row counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import assert_all_finite

from icp_ml import parameters
from icp_ml.errors import IcpError, InputValueError, ParameterError
from icp_ml.model.candidates import CANDIDATES
from icp_ml.model.columns import Floats

MOST_BAGS, MOST_FOLDS = 1000, 1000


def check_fit(candidates: Any, n_bags: Any, n_folds: Any, random_state: Any, n_jobs: Any) -> None:
    """Refuse settings of a classifier that are of the wrong type or out of range.

    Raises
    ------
    ParameterError
        Naming the setting.
    """
    names = parameters.texts("candidates", candidates)
    if not names:
        raise ParameterError(
            f"expected at least one of the candidates {sorted(CANDIDATES)}, found none",
            parameter="candidates",
        )
    for name in names:
        parameters.choice("each of candidates", name, CANDIDATES)
    parameters.whole("n_bags", n_bags, 1, MOST_BAGS)
    parameters.whole("n_folds", n_folds, 2, MOST_FOLDS)
    parameters.jobs(n_jobs)
    if random_state is not None and not isinstance(random_state, np.random.RandomState):
        parameters.seed(random_state, "random_state")


@contextmanager
def named_input() -> Iterator[None]:
    """Name what scikit-learn, NumPy or pandas refuse about a matrix, an outcome or groups as ours does."""
    try:
        # Sums of huge numbers overflow in the checks themselves, which then look at each number.
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except IcpError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise InputValueError(str(error)) from error


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


def read_weights(weights: npt.ArrayLike | None, n_rows: int) -> Floats | None:
    """Return weights whose mean over counted rows is 1; None where all rows count alike.

    Raises
    ------
    ParameterError
        If there isn't one weight for each row, or they are out of range, or all are 0.

    Examples
    --------
    >>> read_weights([2.0, 0.0, 4.0, 6.0], 4).tolist()
    [0.5, 0.0, 1.0, 1.5]
    """
    if weights is None:
        return None
    found = parameters.weights("sample_weight", weights, n_rows)
    positive = found[found > 0]
    return None if np.ptp(found) == 0 else np.asarray(found / positive.mean(), dtype=np.float64)
