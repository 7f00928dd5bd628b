"""Two sets without signal: does the AUC's interval hold one half, and do scores collapse to the base rate?

python experiments/ravenstack/no_signal.py [--smoke] [--out FOLDER]

Five outer folds of whole accounts; nothing of a test fold is seen in training. Areas are means over
folds: where scores collapse to the base rate of the other folds, the fold that has more of an outcome
gets the lower score, so that the area of all rows together lies below one half for no other reason. It
is reported too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import data_folder, options

import icp_ml as icp

DRAWS, FOLDS = 500, 5


def ravenstack() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    table = pd.read_csv(data_folder() / "ravenstack_saas" / "ravenstack_accounts.csv.gz")
    stayed = ~table["churn_flag"].astype(bool)
    drop = ["account_id", "account_name", "churn_flag", "signup_date"]
    return table.drop(columns=drop), stayed.to_numpy(), table["account_id"].to_numpy()


def maven() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Closed deals, won or lost, with what is known of the account; folds of whole accounts."""
    folder = data_folder() / "maven_crm_sales"
    deals = pd.read_csv(folder / "sales_pipeline.csv.gz")
    deals = deals[deals["deal_stage"].isin(["Won", "Lost"])].reset_index(drop=True)
    known = deals[["sales_agent", "product", "account"]].merge(
        pd.read_csv(folder / "accounts.csv.gz"), on="account", how="left"
    )
    won = (deals["deal_stage"] == "Won").to_numpy()
    return known.drop(columns="account"), won, deals["account"].to_numpy()


def judged(
    frame: pd.DataFrame, y: np.ndarray, groups: np.ndarray, folds: int, seed: int = 7
) -> dict[str, Any]:
    """Return the AUC out of fold with its interval over groups, and how far scores leave the base rate."""
    said, fold = np.zeros(len(y)), np.zeros(len(y), dtype=np.int64)
    for k, (train, test) in enumerate(
        StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(frame, y, groups)
    ):
        model = icp.PropensityClassifier(random_state=seed)
        model.fit(frame.iloc[train].reset_index(drop=True), y[train].astype(int), groups=groups[train])
        said[test] = model.predict_proba(frame.iloc[test].reset_index(drop=True))[:, 1]
        fold[test] = k

    def within(rows: np.ndarray) -> float:
        own = [rows[fold[rows] == k] for k in range(folds)]
        return float(np.mean([roc_auc_score(y[r], said[r]) for r in own if 0 < y[r].sum() < len(r)]))

    rng = np.random.default_rng(seed)
    names, codes = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(codes == k) for k in range(len(names))]
    draws = []
    for _ in range(DRAWS):
        rows = np.concatenate([members[k] for k in rng.integers(0, len(names), len(names))])
        draws.append((within(rows), roc_auc_score(y[rows], said[rows])))
    (low, pooled_low), (high, pooled_high) = np.quantile(draws, [0.05, 0.95], axis=0)
    return {
        "rows": len(y),
        "groups": len(names),
        "base_rate": float(y.mean()),
        "auc": within(np.arange(len(y))),
        "low": float(low),
        "high": float(high),
        "holds_half": bool(low <= 0.5 <= high),
        "pooled": {
            "auc": float(roc_auc_score(y, said)),
            "low": float(pooled_low),
            "high": float(pooled_high),
        },
        "sd_of_scores": float(said.std()),
        "log_loss": float(log_loss(y, said)),
        "log_loss_of_base_rate": float(log_loss(y, np.full(len(y), y.mean()))),
    }


def main() -> None:
    opts = options(__doc__)
    found = {}
    for name, (frame, y, groups) in {"ravenstack": ravenstack(), "maven": maven()}.items():
        few = np.random.default_rng(0).permutation(len(y))[:400] if opts.smoke else np.arange(len(y))
        folds = 2 if opts.smoke else FOLDS
        found[name] = judged(frame.iloc[few].reset_index(drop=True), y[few], groups[few], folds)
    text = json.dumps(found, indent=1)
    print(text)
    folder = opts.out or (None if opts.smoke else HERE)
    if folder is not None:
        (folder / "no_signal.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
