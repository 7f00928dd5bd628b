"""The public sets of the benchmark: features without identifiers and known leaks, and a 0/1 outcome."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Set:
    """One table: features as published, the outcome, and which columns are categories."""

    name: str
    features: pd.DataFrame
    outcome: np.ndarray
    categories: tuple[str, ...]


def _set(
    name: str,
    frame: pd.DataFrame,
    outcome: pd.Series,
    drop: tuple[str, ...] = (),
    codes: tuple[str, ...] = (),
) -> Set:
    features = frame.drop(columns=list(drop)).reset_index(drop=True)
    texts = [c for c in features if not pd.api.types.is_numeric_dtype(features[c]) or c in codes]
    for column in texts:
        known = features[column].notna()
        features[column] = features[column].astype(str).where(known, None).astype(object)
    return Set(name, features, outcome.astype(float).to_numpy(), tuple(texts))


def telco(data: Path) -> Set:
    frame = pd.read_csv(data / "ibm_telco_2018_classic" / "wa_churn.csv.gz")
    return _set("telco 2018", frame, frame["churn"] == "Yes", ("churn",))


def bank_churn(data: Path) -> Set:
    frame = pd.read_csv(data / "bank_customer_churn" / "Churn_Modelling.csv.gz")
    return _set("bank churn", frame, frame["Exited"] == 1, ("RowNumber", "CustomerId", "Surname", "Exited"))


def bank_marketing(data: Path) -> Set:
    frame = pd.read_csv(data / "bank_marketing" / "bank.csv.gz")
    return _set(
        "bank marketing", frame, frame["deposit"].astype(str).str.lower() == "yes", ("duration", "deposit")
    )


def saas(data: Path) -> Set:
    frame = pd.read_csv(data / "saas_b2b_pysurvival" / "churn.csv.gz")
    return _set("saas", frame, frame["churned"].astype(float) == 1, ("months_active", "churned"))


def fiberbits(data: Path) -> Set:
    frame = pd.read_csv(data / "fiberbits" / "Fiberbits.csv.gz")
    return _set("fiberbits", frame, frame["active_cust"] == 1, ("active_cust",))


def _orange(data: Path, file: str, target: str) -> Set:
    frame = pd.read_parquet(data / "kdd2009_orange_small" / file)
    drop = tuple(c for c in ("part", "churn", "appetency", "upselling") if c in frame)
    codes = tuple(c for c in frame if c.startswith("Var") and int(c[3:]) >= 191)
    kept = frame.drop(columns=[c for c in frame if frame[c].isna().all()])
    positive = frame[target].astype(float) > 0
    name = f"orange {target}" + (" 50k" if file.startswith("partial") else "")
    return _set(name, kept, positive, tuple(c for c in drop if c in kept), codes)


def orange_churn(data: Path) -> Set:
    return _orange(data, "balanced_churn_7344x230.parquet", "churn")


def orange_appetency(data: Path) -> Set:
    return _orange(data, "balanced_appetency_1780x230.parquet", "appetency")


def orange_upselling(data: Path) -> Set:
    return _orange(data, "balanced_upselling_7364x230.parquet", "upselling")


def orange_50k(data: Path) -> Set:
    return _orange(data, "partial_50000x33.parquet", "churn")


SETS = (
    telco,
    bank_churn,
    bank_marketing,
    saas,
    fiberbits,
    orange_churn,
    orange_appetency,
    orange_upselling,
    orange_50k,
)
