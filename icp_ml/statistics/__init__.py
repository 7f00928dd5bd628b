"""Intervals, tests, false-discovery control, shrinkage, power and stability: numbers in, numbers out.

Nothing in here knows what an account is. Each function names the source of its formula.
"""

from __future__ import annotations

from icp_ml.statistics.intervals import clopper_pearson, newcombe, wilson
from icp_ml.statistics.multiplicity import (
    benjamini_hochberg,
    benjamini_yekutieli,
    fisher_exact,
    holm,
    permutation_p,
    selective_q,
)
from icp_ml.statistics.power import accounts_needed, detectable_difference
from icp_ml.statistics.resampling import (
    bootstrap_weights,
    effective_sample_size,
    jaccard,
    nogueira_stability,
)
from icp_ml.statistics.shrinkage import Shrunken, beta_binomial_prior, shrink_effects, shrink_rates

__all__ = [
    "Shrunken",
    "accounts_needed",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "beta_binomial_prior",
    "bootstrap_weights",
    "clopper_pearson",
    "detectable_difference",
    "effective_sample_size",
    "fisher_exact",
    "holm",
    "jaccard",
    "newcombe",
    "nogueira_stability",
    "permutation_p",
    "selective_q",
    "shrink_effects",
    "shrink_rates",
    "wilson",
]
