"""RavenStack: a full SaaS schema whose labels are noise. The right answer is AUC near 0.5 and no trait."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

import icp_ml as icp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import data_folder, options, save_result, study


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(data_folder() / "ravenstack_saas" / f"ravenstack_{name}.csv.gz")


def tables() -> tuple[icp.Tables, icp.Rejects]:
    accounts, subscriptions, tickets, usage = (
        read("accounts"),
        read("subscriptions"),
        read("support_tickets"),
        read("feature_usage"),
    )
    owner = subscriptions.set_index("subscription_id")["account_id"]
    return icp.read_tables(
        {
            "accounts": accounts[
                ["account_id", "industry", "country", "signup_date", "referral_source", "seats"]
            ],
            "subscriptions": subscriptions.rename(columns={"arr_amount": "arr"})[
                ["account_id", "start_date", "end_date", "arr"]
            ],
            "tickets": tickets.rename(columns={"submitted_at": "date"})[["account_id", "date"]],
            "usage": usage.assign(account_id=usage["subscription_id"].map(owner), metric="uses").rename(
                columns={"usage_date": "date", "usage_count": "value"}
            )[["account_id", "date", "metric", "value"]],
        }
    )


def main() -> None:
    opts = options(__doc__)
    found, rejects = tables()
    print(rejects.counts().to_string(index=False))
    # subscriptions: what became of the ARR of each account within six months
    dataset = icp.build_dataset(
        found, snapshot_dates=icp.quarter_ends("2023-06-30", "2024-06-30"), horizon_months=6
    )
    print(dataset.summary())
    by_arr, _ = study(*icp.split_out_of_time(dataset, test_from="2024-03-31", embargo_months=3))
    # accounts: the set's own churn flag
    accounts = read("accounts")
    accounts["stayed"] = (~accounts["churn_flag"].astype(bool)).astype(int)
    flagged = icp.Dataset.from_frame(
        accounts,
        account_id="account_id",
        labels={"retained": "stayed"},
        drop=["account_name", "churn_flag", "signup_date"],
    )
    by_flag, _ = study(*icp.split_out_of_time(flagged, test_share=0.4, seed=7))
    save_result(
        {"rejects": rejects.counts().to_dict("records"), "by_arr": by_arr, "by_flag": by_flag}, __file__, opts
    )


if __name__ == "__main__":
    main()
