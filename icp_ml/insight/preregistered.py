"""Too few events to search: exact tests of the few traits that were named before the data were seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.dataset import Dataset
from icp_ml.errors import ParameterError
from icp_ml.insight.examine import Evidence
from icp_ml.insight.predicates import Predicate
from icp_ml.insight.profile import TRAIT_COLUMNS
from icp_ml.insight.riskset import Outcome
from icp_ml.statistics import benjamini_hochberg, fisher_exact, newcombe

Array = npt.NDArray[np.float64]

#: Draws behind a p-value where accounts were seen on several days.
DRAWS = 9_999
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
    features = dataset.features.iloc[evidence.rows]
    rows = []
    for item in asked:
        predicate = Predicate.from_dict(dict(item))
        rows.append(_row(evidence, predicate, predicate.mask(features)))
    found = pd.DataFrame(rows)
    found["q_value"] = benjamini_hochberg(found["p_value"].to_numpy())
    for i in np.flatnonzero(found["q_value"].to_numpy() <= q):
        positive = int(found["direction"].iloc[i]) * evidence.sign > 0
        found.loc[i, "kind"] = "icp" if positive else "anti_icp"
        found.loc[i, "role"] = "nice_to_have" if positive else "caution"
    return pd.concat([found[list(TRAIT_COLUMNS)], table], ignore_index=True)


def exact_p(outcome: Outcome, held: Array, *, n_draws: int = DRAWS) -> float:
    """Two-sided p-value of one named condition: Fisher's, or by handing events to others at risk.

    Parameters
    ----------
    outcome
        Outcome and risk sets of the rows.
    held
        Whether each row meets the condition, NaN = unknown.
    n_draws
        Draws where accounts were seen on several days.

    Notes
    -----
    With one row an account in one risk set both are the same test (Fisher, R. A. 1935).
    """
    known = ~np.isnan(held)
    yes, no = held == 1.0, held == 0.0
    if outcome.n_units == outcome.n_accounts == len(held) and outcome.n_strata == 1:
        good = outcome.y > 0.5
        return fisher_exact(int(good[yes].sum()), int(yes.sum()), int(good[no].sum()), int(no.sum()))
    n, stratum = outcome.n_units, outcome.stratum
    rows = np.bincount(outcome.unit[known], minlength=n)
    share = np.bincount(outcome.unit, weights=np.nan_to_num(held), minlength=n) / np.maximum(rows, 1)
    usual = np.bincount(stratum, weights=share) / np.maximum(np.bincount(stratum, weights=rows > 0), 1)
    centred = np.where(rows > 0, share - usual[stratum], 0.0)
    seen = abs(float(outcome.residual @ centred)) / np.sqrt(outcome.clustering)
    rng, place = np.random.default_rng(n), np.argsort(stratum, kind="stable")
    hits = 0
    for _ in range(n_draws):
        drawn = outcome.residual[np.argsort(rng.random(n) + stratum)]
        hits += abs(float(drawn @ centred[place])) >= seen - 1e-9
    return (1.0 + hits) / (1.0 + n_draws)


def _row(e: Evidence, predicate: Predicate, held: Array) -> dict[str, Any]:
    outcome = e.outcome
    yes, no = held == 1.0, held == 0.0
    n, m = (len(np.unique(outcome.account[rows])) for rows in (yes, no))
    # rates are over rows, their errors over accounts
    rate = float(outcome.y[yes].mean()) if n else np.nan
    without = float(outcome.y[no].mean()) if m else np.nan
    low, high = newcombe(np.nan_to_num(rate) * n, n, np.nan_to_num(without) * m, m)
    share = float(yes.sum()) / max(float((yes | no).sum()), 1.0)
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
        "support": float(yes.mean()),
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
        "p_value": exact_p(outcome, held),
        "q_value": np.nan,
        "stability": 1.0,
        "proxy_of": "",
        "accounts_needed": 0,
    }
