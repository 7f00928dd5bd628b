"""LightGBM texts out of a saved model: sound, small and for the columns that the encoder makes, or refused.

LightGBM itself is never given such a text: its reader checks little, and a bent text ends the process.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icp_ml.errors import BundleError, InputMismatchError
from icp_ml.model.fasttree.parse import Forest, parse_model
from icp_ml.model.fasttree.sound import Limits, check_bins

MOST_TEXTS = 256


def read_texts(
    texts: Sequence[str], limits: Limits, n_columns: int | None = None, names: Sequence[str] = ()
) -> list[Forest]:
    """Read the texts of a bag.

    Parameters
    ----------
    texts
        One per booster.
    limits
        How large each may be.
    n_columns
        Number of columns each must have; None takes that of the first one.
    names
        Names of their files, for errors.

    Raises
    ------
    BundleError
        If there is none or more than 256, or one isn't the text of a LightGBM model, isn't sound, is larger
        than its limits or is for other columns.
    """
    if not 1 <= len(texts) <= MOST_TEXTS:
        raise BundleError(
            f"expected 1 to {MOST_TEXTS} model texts of a member, found {len(texts)}: save the model again",
            found=len(texts),
        )
    forests: list[Forest] = []
    for place, text in enumerate(texts):
        name = names[place] if names else f"text {place}"
        try:
            forest = parse_model(text, limits)
        except InputMismatchError as problem:
            raise BundleError(
                f"{name}: expected the text of a LightGBM model, found something else ({problem}): "
                "get the file from where it was made, or save the model again",
                **{**problem.facts, "file": name},
            ) from problem
        n_columns = len(forest.feature_names) if n_columns is None else n_columns
        if len(forest.feature_names) != n_columns:
            raise BundleError(
                f"{name}: expected a model of {n_columns} columns, found {len(forest.feature_names)} in "
                "feature_names: get the file from where it was made, or save the model again",
                file=name,
                field="feature_names",
                expected=n_columns,
                found=len(forest.feature_names),
            )
        forests.append(forest)
    _check_together(forests, names)
    return forests


def _check_together(forests: Sequence[Forest], names: Sequence[str]) -> None:
    trees = [tree for forest in forests for tree in forest.trees if len(tree.feature)]
    if not trees:
        return
    try:
        check_bins(
            np.concatenate([tree.feature for tree in trees]),
            np.concatenate([tree.threshold for tree in trees]),
        )
    except InputMismatchError as problem:
        raise BundleError(f"{', '.join(names[:5])}: {problem}", **problem.facts) from problem
