"""Crunchbase 2013: real firms as of one year after their first funding; failed by October 2013 or not."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

import icp_ml as icp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import data_folder, options, save_result, study

FOLDER = "crunchbase_oct2013"


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(data_folder() / FOLDER / f"crunchbase-{name}.csv.gz", encoding="mac_roman")


def firms_as_of_one_year() -> pd.DataFrame:
    """One row per firm: what its rounds told a year after the first one, and whether it closed by 2013."""
    companies, rounds, bought = read("companies"), read("rounds"), read("acquisitions")
    firms = companies.drop_duplicates("permalink").set_index("permalink")
    firms["as_of"] = pd.to_datetime(firms["first_funding_at"], errors="coerce") + pd.Timedelta(days=365)
    firms = firms[firms["as_of"].between("2005-01-01", "2012-06-30")]
    acquired = pd.to_datetime(
        bought.dropna(subset=["company_permalink"]).groupby("company_permalink")["acquired_at"].min(),
        errors="coerce",
    )
    gone = acquired.reindex(firms.index) <= firms["as_of"]
    firms = firms[~gone]
    rounds["funded_at"] = pd.to_datetime(rounds["funded_at"], errors="coerce")
    rounds = rounds.merge(firms[["as_of"]], left_on="company_permalink", right_index=True)
    rounds = rounds[rounds["funded_at"] <= rounds["as_of"]].sort_values(["company_permalink", "funded_at"])
    known = rounds.groupby("company_permalink").agg(
        rounds=("funded_at", "size"),
        raised=("raised_amount_usd", "sum"),
        stage=("funding_round_type", "last"),
        last=("funded_at", "max"),
    )
    firms = firms.join(known, how="inner")
    founded = pd.to_datetime(firms["founded_at"], errors="coerce")
    age = (firms["as_of"] - founded).dt.days / 365.25
    table = firms.assign(
        age=age.where(age >= 0),
        days_since_round=(firms["as_of"] - firms["last"]).dt.days,
        alive=(firms["status"] != "closed").astype(int),
    ).rename(columns={"category_code": "category", "state_code": "state"})
    columns = [
        "as_of",
        "category",
        "state",
        "region",
        "age",
        "rounds",
        "raised",
        "stage",
        "days_since_round",
        "alive",
    ]
    return table[columns].rename_axis("firm").reset_index()


def main() -> None:
    opts = options(__doc__)
    frame = firms_as_of_one_year().sort_values("as_of").reset_index(drop=True)
    if opts.smoke:
        frame = frame.iloc[:: max(1, len(frame) // 1500)].reset_index(drop=True)
    dataset = icp.Dataset.from_frame(
        frame, account_id="firm", labels={"retained": "alive"}, snapshot_date="as_of"
    )
    train, test = icp.split_out_of_time(dataset, test_from="2011-01-01", embargo_months=0)
    result, _ = study(train, test)
    save_result(result, __file__, opts)


if __name__ == "__main__":
    main()
