"""Account-grouped folds and subsamples: rows of one account are never on both sides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from icp_ml.model.columns import Ints


def group_codes(groups: npt.ArrayLike | None, n_rows: int) -> Ints:
    """Return a code per row, equal for rows of one group; without ``groups`` each row is its own."""
    if groups is None:
        return np.arange(n_rows, dtype=np.int64)
    return np.unique(np.asarray(groups).astype(str), return_inverse=True)[1].reshape(-1).astype(np.int64)


def possible_folds(y: npt.NDArray[np.float64], codes: Ints, n_folds: int) -> int:
    """Return how many folds can hold both outcomes: at most one per group of the rarer outcome."""
    rarer = min(len(np.unique(codes[y == 1])), len(np.unique(codes[y == 0])))
    return min(n_folds, rarer)


def group_folds(y: npt.NDArray[np.float64], codes: Ints, n_folds: int, seed: int) -> Ints:
    """Deal groups to folds so that sizes and outcomes balance.

    Parameters
    ----------
    y
        Outcome per row, 0 or 1.
    codes
        Group code per row, see :func:`group_codes`.
    n_folds
        Number of folds.
    seed
        Decides which groups meet.

    Returns
    -------
    ndarray
        Fold number per row.

    Examples
    --------
    >>> group_folds(np.array([0.0, 0, 1, 1]), np.array([0, 1, 2, 3]), 2, seed=0).tolist()
    [1, 0, 0, 1]
    """
    rng = np.random.default_rng(seed)
    n_groups = int(codes.max()) + 1
    size = np.bincount(codes, minlength=n_groups)
    share = np.bincount(codes, weights=y, minlength=n_groups) / size
    # Groups that are alike in outcome and size lie side by side and go to different folds.
    order = np.lexsort((rng.permutation(n_groups), size, share))
    fold_of_group = np.empty(n_groups, dtype=np.int64)
    fold_of_group[order] = np.arange(n_groups) % n_folds
    return fold_of_group[codes]


def group_subsample(codes: Ints, y: npt.NDArray[np.float64], share: float, seed: int) -> Ints:
    """Return the positions of the rows of a random ``share`` of the groups, stratified by outcome."""
    if share >= 1:
        return np.arange(len(codes), dtype=np.int64)
    rng = np.random.default_rng(seed)
    n_groups = int(codes.max()) + 1
    any_event = np.bincount(codes, weights=y, minlength=n_groups) > 0
    chosen = np.zeros(n_groups, dtype=bool)
    for stratum in (False, True):
        members = np.flatnonzero(any_event == stratum)
        n_taken = int(np.ceil(share * len(members)))
        chosen[rng.permutation(members)[:n_taken]] = True
    return np.flatnonzero(chosen[codes])
