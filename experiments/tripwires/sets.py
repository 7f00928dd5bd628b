"""The public sets as datasets: with the leaks they came with, and without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import icp_ml as icp

#: Rows of the large sets that are used, drawn at random.
MOST_ROWS = 12_000


@dataclass(frozen=True)
class Source:
    """One public set: how it is read, its outcome, which columns leak, which are no features."""

    file: str
    label: str
    good: object
    leaks: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    also: Callable[[Path, pd.DataFrame], pd.DataFrame] | None = None

    def frame(self, folder: Path) -> pd.DataFrame:
        """Read the set; the account is the row, the outcome is in ``outcome_``."""
        path = folder / self.file
        found = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        if self.also is not None:
            found = self.also(folder, found)
        if len(found) > MOST_ROWS:
            found = found.sample(MOST_ROWS, random_state=0).reset_index(drop=True)
        found["outcome_"] = (found[self.label] == self.good).astype(int)
        found["account_"] = [f"a{row:06d}" for row in range(len(found))]
        return found.drop(columns=[self.label, *self.drop])

    def dataset(self, folder: Path, *, leaks: Sequence[str]) -> icp.Dataset:
        """Return the dataset with some of its leaks."""
        frame = self.frame(folder)
        frame = frame.drop(columns=[name for name in self.leaks if name not in leaks])
        return dataset_of(frame, [name for name in self.category if name in frame.columns])


def dataset_of(frame: pd.DataFrame, category: Sequence[str] = ()) -> icp.Dataset:
    """Return a labelled frame with ``account_`` and ``outcome_`` as a dataset."""
    return icp.Dataset.from_frame(
        frame, account_id="account_", labels={"retained": "outcome_"}, category=list(category)
    )


def _telco_2020(folder: Path, found: pd.DataFrame) -> pd.DataFrame:
    status = pd.read_csv(folder / "ibm_telco_2020" / "Telco_customer_churn_status.csv.gz")
    status = status.rename(columns={"Customer ID": "CustomerID"})
    extra = ["CustomerID", "Satisfaction Score", "Customer Status", "Churn Category"]
    return found.merge(status[extra], on="CustomerID", how="left")


def _known_acquisition(_: Path, found: pd.DataFrame) -> pd.DataFrame:
    return found[found["deal_stage"].isin(["Won", "Lost"])].reset_index(drop=True)


_ORANGE = "kdd2009_orange_small/"
_TARGETS = ("churn", "appetency", "upselling")


def _orange(name: str, file: str, part: tuple[str, ...]) -> Source:
    others = tuple(target for target in _TARGETS if target != name)
    codes = tuple(f"Var{number}" for number in range(191, 231)) if part else ()
    return Source(_ORANGE + file, name, 1, drop=(*others, *part), category=codes)


SETS: dict[str, Source] = {
    "Telco 2018": Source("ibm_telco_2018_classic/wa_churn.csv.gz", "churn", "No"),
    "Telco 2020": Source(
        "ibm_telco_2020/Telco_customer_churn.csv.gz",
        "Churn Value",
        0,
        leaks=(
            "Churn Label",
            "Churn Score",
            "Churn Reason",
            "Satisfaction Score",
            "Customer Status",
            "Churn Category",
        ),
        drop=("CustomerID", "Count", "Lat Long"),
        also=_telco_2020,
    ),
    "bank churn": Source(
        "bank_customer_churn/Churn_Modelling.csv.gz", "Exited", 0, drop=("RowNumber", "CustomerId", "Surname")
    ),
    "bank marketing": Source("bank_marketing/bank.csv.gz", "deposit", "yes", leaks=("duration",)),
    "fiberbits": Source("fiberbits/Fiberbits.csv.gz", "active_cust", 1),
    "SaaS simulation": Source("saas_b2b_pysurvival/churn.csv.gz", "churned", 0.0),
    "X Education": Source(
        "x_education_leads/Leads.csv.gz",
        "Converted",
        1,
        leaks=(
            "Tags",
            "Lead Quality",
            "Lead Profile",
            "Last Activity",
            "Last Notable Activity",
            "Asymmetrique Activity Index",
            "Asymmetrique Profile Index",
            "Asymmetrique Activity Score",
            "Asymmetrique Profile Score",
        ),
        drop=("Prospect ID", "Lead Number", "Unnamed: 37"),
    ),
    "SBA case": Source(
        "sba_case/SBAcase.11.13.17.csv.gz",
        "Default",
        0,
        leaks=(
            "Term",
            "ChgOffDate",
            "BalanceGross",
            "MIS_Status",
            "ChgOffPrinGr",
            "daysterm",
            "xx",
            "Portion",
        ),
        drop=("Selected", "LoanNr_ChkDgt", "Name"),
    ),
    "startups 923": Source(
        "startup_success_923/startup data.csv.gz",
        "status",
        "acquired",
        leaks=("closed_at",),
        drop=("Unnamed: 0", "id", "Unnamed: 6", "name", "object_id", "state_code.1"),
    ),
    "smcrm acquisition": Source(
        "smcrm/acquisitionRetention.csv.gz",
        "acquisition",
        1,
        leaks=("duration", "profit", "ret_exp", "ret_exp_sq", "freq", "freq_sq", "crossbuy", "sow"),
        drop=("customer",),
    ),
    "RavenStack": Source(
        "ravenstack_saas/ravenstack_accounts.csv.gz",
        "churn_flag",
        False,
        drop=("account_id", "account_name", "signup_date"),
    ),
    "Maven CRM": Source(
        "maven_crm_sales/sales_pipeline.csv.gz",
        "deal_stage",
        "Won",
        drop=("opportunity_id", "close_value", "engage_date", "close_date"),
        also=_known_acquisition,
    ),
    **{f"Orange {name}": _orange(name, "partial_50000x33.parquet", ()) for name in _TARGETS},
    **{
        f"Orange balanced {name}": _orange(name, f"balanced_{name}_{n}x230.parquet", ("part",))
        for name, n in zip(_TARGETS, (7344, 1780, 7364), strict=True)
    },
}
