"""Too few events to search: exact tests of the few traits that were named before the data were seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from icp_ml.data.dataset import Dataset
from icp_ml.errors import ParameterError
from icp_ml.insight.examine import Evidence
from icp_ml.insight.predicates import Predicate
from icp_ml.insight.profile import TRAIT_COLUMNS
from icp_ml.statistics import benjamini_hochberg, fisher_exact, newcombe

#: More would be a search, and a search needs more events.
MOST = 8


def read_asked(asked: Any, dataset: Dataset) -> list[Mapping[str, Any]]:
    """Check traits that were named before the data were seen.

    Raises
    ------
    ParameterError
        There are more than 8, or one isn't a dict with feature, operator and value, or of no feature.
    """
    listed = isinstance(asked, Sequence) and not isinstance(asked, str | bytes)
    found = list(asked) if listed else []
    if not listed or len(found) > MOST:
        raise ParameterError(
            f"expected at most {MOST} pre-registered traits, found {len(found) or repr(asked)}: name fewer",
            found=len(found),
        )
    for item in found:
        keys = set(item) if isinstance(item, Mapping) else set()
        if not keys >= {"feature", "operator", "value"} or item["feature"] not in dataset.schema.names:
            raise ParameterError(
                f"expected a pre-registered trait with feature, operator and value, found {item!r}: features "
                f"are {dataset.schema.names[:5]}",
                found=item,
            )
    return found


def exact_tests(
    evidence: Evidence, dataset: Dataset, table: pd.DataFrame, asked: Sequence[Mapping[str, Any]], q: float
) -> pd.DataFrame:
    """Add exact tests of named traits to the table of a target with too few events.

    Parameters
    ----------
    evidence
        What is known about the target.
    dataset
        Its dataset.
    table
        Traits table, all rows without enough evidence.
    asked
        At most 8 dicts with feature, operator and value.
    q
        False discovery rate over the named traits.

    """
    if not asked:
        return table
    n, weights = evidence.outcome.n_accounts, evidence.outcome.weights
    features = dataset.features.iloc[evidence.rows]
    good = evidence.outcome.rates >= 0.5
    rows = []
    for item in asked:
        predicate = Predicate.from_dict(dict(item))
        mask = predicate.mask(features)
        known = np.bincount(evidence.outcome.account, weights=weights * ~np.isnan(mask), minlength=n) >= 0.5
        held = (
            np.bincount(evidence.outcome.account, weights=weights * np.nan_to_num(mask), minlength=n) >= 0.5
        )
        yes, no = held & known, ~held & known
        rows.append(
            _row(
                evidence,
                predicate,
                [int(good[yes].sum()), int(yes.sum()), int(good[no].sum()), int(no.sum())],
            )
        )
    found = pd.DataFrame(rows)
    found["q_value"] = benjamini_hochberg(found["p_value"].to_numpy())
    for i in np.flatnonzero(found["q_value"].to_numpy() <= q):
        positive = int(found["direction"].iloc[i]) * evidence.sign > 0
        found.loc[i, "kind"] = "icp" if positive else "anti_icp"
        found.loc[i, "role"] = "nice_to_have" if positive else "caution"
    return pd.concat([found[list(TRAIT_COLUMNS)], table], ignore_index=True)


def _row(e: Evidence, predicate: Predicate, cells: list[int]) -> dict[str, Any]:
    good, n, other, m = cells
    rate, without = good / n if n else np.nan, other / m if m else np.nan
    low, high = newcombe(good, n, other, m)
    share = n / max(n + m, 1)
    base = e.base_rate
    return {
        "target": e.target,
        "trait": predicate.text(),
        "feature": predicate.feature,
        "operator": predicate.operator,
        "value": predicate.value_json(),
        "direction": 1 if not rate < without else -1,
        "kind": "not_enough_evidence",
        "role": "unknown",
        "n_accounts": n,
        "support": n / e.outcome.n_accounts,
        "rate": rate,
        "rate_without": without,
        "base_rate": base,
        "lift": rate - base,
        "lift_low": float(low) * (1 - share),
        "lift_high": float(high) * (1 - share),
        "adjusted_effect": np.nan,
        "adjusted_low": np.nan,
        "adjusted_high": np.nan,
        "mean_contribution": np.nan,
        "p_value": fisher_exact(good, n, other, m),
        "q_value": np.nan,
        "stability": 1.0,
        "proxy_of": "",
        "accounts_needed": 0,
    }
