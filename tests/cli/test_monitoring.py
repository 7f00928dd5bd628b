"""``icp-ml monitor``: exit codes, files and tables, outcomes when they are known."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import icp_ml as icp
from icp_ml.cli import main

DAY = date(2024, 3, 31)


def run(*arguments: object):
    return CliRunner().invoke(main, ["monitor", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables of 300 accounts with yearly terms, and a model that learnt from two older quarters."""
    rng = np.random.default_rng(4)
    place = tmp_path_factory.mktemp("monitoring")
    ids = [f"a{i:04d}" for i in range(300)]
    industry = rng.choice(["Fintech", "Retail", "Health"], 300)
    terms = []
    for account, kind in zip(ids, industry, strict=True):
        start = pd.Timestamp("2021-01-01") + pd.Timedelta(days=int(rng.integers(0, 700)))
        while start < pd.Timestamp("2025-06-30"):
            end = start + pd.Timedelta(days=365)
            terms.append({"account_id": account, "start_date": start, "end_date": end, "arr": 1000.0})
            if rng.random() > (0.95 if kind == "Fintech" else 0.75):
                break
            start = end
    crm = place / "crm"
    crm.mkdir()
    employees = rng.integers(10, 1000, 300)
    accounts = pd.DataFrame({"account_id": ids, "industry": industry, "employees": employees})
    accounts.to_parquet(crm / "accounts.parquet")
    pd.DataFrame(terms).to_parquet(crm / "subscriptions.parquet")
    tables, _ = icp.read_tables(crm)
    known = icp.build_dataset(
        tables, snapshot_dates=icp.quarter_ends("2022-12-31", "2023-03-31"), horizon_months=12
    )
    icp.save(icp.train(known, profile=False, n_jobs=1), place / "bundle")
    newest = known.labels["snapshot_date"] == known.labels["snapshot_date"].max()
    known.features[newest].to_parquet(place / "quarter.parquet")
    known.labels.loc[newest, ["account_id", "retained"]].to_csv(place / "renewals.csv", index=False)
    return place


def test_a_quiet_quarter_ends_with_0(folder):
    result = run("--model", folder / "bundle", "--features", folder / "quarter.parquet")

    assert result.exit_code == 0, result.output
    assert "no alarm" in result.stdout
    assert "expected before outcomes are known" in result.stdout
    assert "looking at" in result.stderr


def test_an_alarm_ends_with_3_and_says_why(folder, tmp_path):
    quarter = pd.read_parquet(folder / "quarter.parquet").assign(industry="Fintech")
    quarter.to_parquet(tmp_path / "changed.parquet")

    result = run("--model", folder / "bundle", "--features", tmp_path / "changed.parquet")

    assert result.exit_code == 3, result.output
    assert "industry is Fintech: rose" in result.stdout


def test_outcomes_from_a_file_are_held_against_the_estimate(folder, tmp_path):
    files = ("--model", folder / "bundle", "--features", folder / "quarter.parquet", "--json")
    quiet = run(*files, "--labels", folder / "renewals.csv")
    labels = pd.read_csv(folder / "renewals.csv")
    labels.assign(retained=False).to_parquet(tmp_path / "gone.parquet")
    alarm = run(*files, "--labels", tmp_path / "gone.parquet")

    assert (quiet.exit_code, alarm.exit_code) == (0, 3), quiet.output + alarm.output
    churn = {
        name: next(row for row in json.loads(result.stdout)["performance"] if row["metric"] == "churn")
        for name, result in (("quiet", quiet), ("alarm", alarm))
    }
    assert churn["quiet"]["realised"] == pytest.approx(1 - labels["retained"].mean())
    assert churn["alarm"]["realised"] == 1.0
    assert churn["alarm"]["alarm"]


def test_tables_give_the_customers_of_a_day_and_their_outcomes(folder):
    tables, _ = icp.read_tables(folder / "crm")
    terms = tables.subscriptions
    paying = terms[(terms["start_date"] <= "2024-03-31") & (terms["end_date"] > "2024-03-31")]
    asked = ("--model", folder / "bundle", "--data", folder / "crm", "--as-of", DAY, "--json")

    before, after = run(*asked), run(*asked, "--outcomes")

    assert before.exit_code in (0, 3), before.output
    facts = json.loads(before.stdout)["facts"]
    assert facts["accounts"] == paying["account_id"].nunique() < 300
    assert facts["as_of"] == ["2024-03-31"]
    assert facts["matured"] == {}
    assert json.loads(after.stdout)["facts"]["matured"]["retained"] > 30
    assert all(row["realised"] is not None for row in json.loads(after.stdout)["performance"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--as-of", DAY), "expected --data, --features or --config"),
        (("--features", "x.parquet", "--as-of", DAY), "found both"),
        (("--data", "crm", "--labels", "x.csv"), "expected --features with --labels"),
        (("--data", "crm", "--outcomes"), "expected --as-of with --outcomes"),
        (("--features", "nowhere/*.parquet"), "expected parquet files at nowhere"),
    ],
)
def test_bad_input_ends_with_2(folder, arguments, said):
    result = run("--model", folder / "bundle", *arguments)

    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_day_without_customers_and_answers_that_are_none_end_with_2(folder, tmp_path):
    (tmp_path / "odd.csv").write_text("account_id,retained\na0001,perhaps\n", encoding="utf-8")
    model = ("--model", folder / "bundle")

    early = run(*model, "--data", folder / "crm", "--as-of", "2001-01-01")
    odd = run(*model, "--features", folder / "quarter.parquet", "--labels", tmp_path / "odd.csv")
    lost = run(*model, "--features", folder / "quarter.parquet", "--labels", tmp_path / "lost.csv")

    assert (early.exit_code, odd.exit_code, lost.exit_code) == (2, 2, 2)
    assert "expected customers on 2001-01-01" in early.stderr
    assert "'perhaps'" in odd.stderr
    assert "expected a file of outcomes" in lost.stderr
