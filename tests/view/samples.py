"""A small model, evaluation and rejects with known numbers, as the view sees them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd

from icp_ml.data.schema import Feature, Schema

NAN = float("nan")


def trait(**changes: Any) -> dict[str, Any]:
    row = {
        "target": "retained",
        "trait": "employees 200 to 999",
        "feature": "employees",
        "operator": "between",
        "value": "[200, 1000]",
        "direction": 1,
        "kind": "icp",
        "role": "must_have",
        "n_accounts": 212,
        "support": 0.141,
        "rate": 0.94,
        "rate_without": 0.83,
        "base_rate": 0.85,
        "lift": 0.09,
        "lift_low": 0.04,
        "lift_high": 0.13,
        "adjusted_effect": 0.06,
        "adjusted_low": 0.01,
        "adjusted_high": 0.11,
        "mean_contribution": 0.31,
        "p_value": 0.0004,
        "q_value": 0.004,
        "stability": 0.97,
        "proxy_of": "",
        "accounts_needed": NAN,
    }
    return row | changes


def traits(tool: str = "Legacy ERP") -> pd.DataFrame:
    untold = {"kind": "not_enough_evidence", "role": "unknown", "q_value": 0.61}
    return pd.DataFrame(
        [
            trait(),
            trait(
                trait=f"technologies has {tool}",
                kind="anti_icp",
                role="hard_no",
                direction=-1,
                rate=0.71,
                lift=-0.14,
                lift_low=-0.2,
                lift_high=-0.07,
                adjusted_effect=-0.1,
                adjusted_low=-0.18,
                adjusted_high=-0.03,
            ),
            trait(
                trait="revenue above 20",
                target="churned_first_year",
                kind="anti_icp",
                role="caution",
                adjusted_low=-0.02,
                proxy_of="employees",
            ),
            trait(trait="region is LATAM", accounts_needed=4100.0, **untold),
            trait(trait="industry is Retail", **untold),
        ]
    )


def segments(tool: str = "Slack") -> pd.DataFrame:
    conditions = (
        '[{"feature": "employees", "operator": "between", "value": [200, 999]}, '
        f'{{"feature": "technologies", "operator": "has", "value": "{tool}"}}]'
    )
    return pd.DataFrame(
        [
            {
                "name": f"Mid-size with {tool}",
                "conditions": conditions,
                "target": "retained",
                "n_accounts": 96,
                "support": 0.064,
                "rate": 0.97,
                "lift": 0.12,
                "lift_low": 0.06,
                "lift_high": 0.15,
                "jaccard_stability": 0.81,
                "decidable": 0.88,
            }
        ]
    )


def profile(**changes: Any) -> Any:
    tool = changes.pop("tool", None)
    parts = {
        "traits": traits(tool) if tool else traits(),
        "segments": segments(tool) if tool else segments(),
        "facts": {
            "detectable_effect": {"retained": "retention: differences below 11 points stay unseen."},
            "base_rates": {"retained": 0.85},
        },
    }
    return SimpleNamespace(**parts | changes)


def model(**changes: Any) -> Any:
    first = changes.pop("first_snapshot", "2021-03-31")
    chosen = changes.pop("profile", profile(**changes))
    return SimpleNamespace(
        profile=chosen,
        version="icp/3",
        schema=Schema((Feature("employees", "numeric"),), dropped=(("tenure_days", "post_sale"),)),
        propensities={"retained": None},
        facts={
            "accounts": 1500,
            "rows": 9200,
            "targets": {"retained": {"rows": 9200, "base_rate": 0.85, "chosen": "additive"}},
            "skipped_targets": {"expanded": "3 accounts with expanded = True, fewer than 20"},
            "first_snapshot": first,
            "last_snapshot": "2024-06-30",
            "horizon_months": 12,
            "dataset_fingerprint": "ab12",
            "seed": 7,
            "packages": {"lightgbm": "4.7.0"},
            "dataset": {
                "observed_until": "2025-09-30",
                "dropped": {"censored": 310, "locked_in": 42, "not_active": 0},
                "not_point_in_time": ["industry"],
            },
        },
    )


def evaluation() -> Any:
    rows = [
        ("auc", 0.712, 0.655, 0.768, 0.5, 0.690),
        ("log_loss", 0.391, 0.350, 0.430, 0.423, 0.401),
        ("lift_decile_3", 1.11, 1.0, 1.2, 1.0, 1.1),
    ]
    metrics = pd.DataFrame(
        [
            {"name": name, "target": "retained", "estimate": estimate, "low": low, "high": high, "n": 1104}
            | {"base_rate": base, "logistic": logistic}
            for name, estimate, low, high, base, logistic in rows
        ]
    )
    deciles = pd.DataFrame(
        {
            "target": "retained",
            "decile": range(1, 11),
            "n_rows": 110,
            "predicted": [0.97 - 0.05 * place for place in range(10)],
            "observed": [0.98 - 0.055 * place for place in range(10)],
            "observed_low": [0.94 - 0.055 * place for place in range(10)],
            "observed_high": [min(1.0, 1.0 - 0.045 * place) for place in range(10)],
            "lift": [1.2 - 0.05 * place for place in range(10)],
        }
    )
    gaps = pd.DataFrame(
        {
            "name": ["auc", "log_loss"],
            "target": "retained",
            "folds": [0.801, 0.388],
            "estimate": [0.712, 0.391],
            "gap": [-0.089, 0.003],
            "low": [-0.151, -0.040],
            "high": [-0.027, 0.046],
            "beyond_luck": [True, False],
        }
    )
    return SimpleNamespace(metrics=metrics, deciles=deciles, gaps=gaps)


class Refused:
    """Stands for ``Rejects`` with one rule."""

    def __init__(self, rule: str) -> None:
        self.frame = pd.DataFrame({"rule": [rule] * 17})
        self.table = pd.DataFrame({"table": ["subscriptions"], "rule": [rule], "n": [17]})

    def __len__(self) -> int:
        return len(self.frame)

    def counts(self) -> pd.DataFrame:
        return self.table


def rejects(rule: str = "negative_arr") -> Any:
    return Refused(rule)
