"""SaaS B2B simulation (PySurvival): product modules as technologies, size and region as firmographics."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

import icp_ml as icp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import data_folder, options, sample, save_result, study

POST_SALE = [
    "csat_score", "articles_viewed", "smartphone_notifications_viewed", "marketing_emails_clicked",
    "minutes_customer_support", "months_active",
]  # fmt: skip


def main() -> None:
    opts = options(__doc__)
    frame = sample(pd.read_csv(data_folder() / "saas_b2b_pysurvival" / "churn.csv.gz"), opts)
    frame["customer"] = [f"S{i:05d}" for i in range(len(frame))]
    frame["stayed"] = 1 - frame.pop("churned").astype(int)
    modules = [
        column for column in frame if column.startswith("product_") and column != "product_data_storage"
    ]
    frame["modules"] = frame[modules].apply(
        lambda row: [
            f"{name.removeprefix('product_')} {state}" for name, state in row.items() if state != "No"
        ],
        axis=1,
    )
    result = {}
    for name, post_sale in (
        ("known before the sale", POST_SALE),
        ("with what is known after it, without tenure", ["months_active"]),
    ):
        dataset = icp.Dataset.from_frame(
            frame,
            account_id="customer",
            labels={"retained": "stayed"},
            technologies=["modules"],
            drop=[*modules, *post_sale],
        )
        train, test = icp.split_out_of_time(dataset, test_share=0.25, seed=7)
        result[name], _ = study(train, test)
    save_result(result, __file__, opts)


if __name__ == "__main__":
    main()
