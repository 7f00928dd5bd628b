"""Tables split on disk: what is known of an account is what read_tables and build_features say of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icp_ml.data.buckets import Buckets, split_tables
from icp_ml.data.contracts import CONTRACTS
from icp_ml.data.features import build_features, features_schema
from icp_ml.data.tables import Tables, read_tables
from icp_ml.errors import ConfigError, DataWarning, RelationError, TableError

DAY = "2024-06-30"
ID = st.sampled_from(["a1", "a2", " a2", "b 3", "c4", "c5", "d6", "N/A", "é7", None])
DATE = st.sampled_from([None, "2023-01-01", "2024-06-29", "2024-06-30", "2024-07-01", "2026-01-01"])
TOOL = st.sampled_from(["Slack", "slack", " Jira ", "SAP", "n/a", None])


def rows_of(*columns: Any, least: int = 0) -> Any:
    return st.lists(st.tuples(*columns), min_size=least, max_size=25)


def write(folder: Path, name: str, rows: list[tuple[Any, ...]], columns: list[str]) -> None:
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    for column in columns:
        if column.endswith(("_seen", "_from", "_date")):
            frame[column] = pd.to_datetime(frame[column])
        elif column in ("employees", "arr"):
            frame[column] = pd.to_numeric(frame[column])
        else:
            frame[column] = frame[column].astype("string")
    frame.to_parquet(folder / f"{name}.parquet")


def split(source: Path, folder: Path, rows: int, **more: Any) -> Buckets:
    folder.mkdir()
    return split_tables(source, folder, bucket_rows=rows, **more)


def in_whole(source: Path) -> tuple[Tables, Any]:
    return read_tables(source)


@settings(max_examples=60, deadline=None)
@given(
    accounts=rows_of(ID, DATE, st.sampled_from([None, 10.0, 250.0]), st.sampled_from(["EU", "US ", None])),
    technologies=rows_of(ID, TOOL, DATE, DATE),
    bucket_rows=st.integers(1, 30),
)
def test_buckets_describe_accounts_as_the_whole_does(
    accounts: list[Any], technologies: list[Any], bucket_rows: int
) -> None:
    accounts = [("a1", "2020-01-01", 5.0, "EU"), ("z9", None, None, "US"), *accounts]
    technologies = [("a1", "Slack", "2024-01-01", None), *technologies]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, "accounts", accounts, ["account_id", "valid_from", "employees", "region"])
        write(folder, "technologies", technologies, ["account_id", "technology", "first_seen", "last_seen"])
        tables, rejects = in_whole(folder)
        schema = features_schema(tables, as_of=DAY)
        expected = build_features(tables, as_of=DAY, schema=schema)
        buckets = split(folder, folder / "buckets", bucket_rows)
        parts = list(buckets.features(schema, as_of=DAY))
    found = pd.concat(parts, ignore_index=True).sort_values("account_id", ignore_index=True)
    pd.testing.assert_frame_equal(found, expected)
    assert dict(buckets.rows_in) == rejects.rows_in
    assert buckets.tally.counts().to_numpy().tolist() == rejects.counts().to_numpy().tolist()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "crm"
    folder.mkdir()
    rng = np.random.default_rng(0)
    accounts = [(f"A{i:03d}", float(rng.integers(1, 900)), "EU") for i in range(60)]
    write(folder, "accounts", accounts, ["account_id", "employees", "region"])
    used = [(f"A{rng.integers(60):03d}", "Slack", "2023-01-01", "2023-06-01") for _ in range(100)]
    write(folder, "technologies", used, ["account_id", "technology", "first_seen", "last_seen"])
    sold = [(f"A{i:03d}", "2023-01-01", None, 100.0, "EUR") for i in range(0, 60, 7)]
    write(folder, "subscriptions", sold, ["account_id", "start_date", "end_date", "arr", "currency"])
    return folder


def test_a_base_is_spread_over_buckets_and_each_account_is_in_one(source: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    buckets = split(source, tmp_path / "b", 10, progress=lambda done, total: told.append((done, total)))
    ids = [set(tables.accounts["account_id"]) for tables in buckets.tables()]
    assert buckets.n == 10
    assert sum(map(len, ids)) == len(set.union(*ids)) == 60
    assert told[-1] == (160, 160)


def test_post_sale_tables_are_read_too(source: Path, tmp_path: Path) -> None:
    tables, _ = in_whole(source)
    schema = features_schema(tables, as_of=DAY, post_sale=True)
    buckets = split(source, tmp_path / "b", 10, names=list(CONTRACTS))
    with pytest.warns(DataWarning, match="no tool is in use"):
        found = pd.concat(list(buckets.features(schema, as_of=DAY)))
    with pytest.warns(DataWarning, match="no tool is in use"):
        expected = build_features(tables, as_of=DAY, schema=schema)
    found = found.sort_values("account_id", ignore_index=True)
    pd.testing.assert_frame_equal(found, expected)


def test_a_folder_of_files_is_one_table(source: Path, tmp_path: Path) -> None:
    whole = pd.read_parquet(source / "accounts.parquet")
    (source / "accounts.parquet").unlink()
    (source / "accounts").mkdir()
    for number, part in enumerate((whole.iloc[:20], whole.iloc[20:])):
        part.to_parquet(source / "accounts" / f"{number}.parquet")
    buckets = split(source, tmp_path / "b", 50, features=["region"])
    columns = [list(tables.accounts.columns) for tables in buckets.tables()]
    assert buckets.rows_in["accounts"] == 60
    assert columns == [["account_id", "region"]] * buckets.n


def test_numbers_and_texts_are_the_same_id(tmp_path: Path) -> None:
    pd.DataFrame({"account_id": [1, 2], "n": [1.0, 2.0]}).to_parquet(tmp_path / "accounts.parquet")
    used = pd.DataFrame({"account_id": [1.0, None, 2.0], "technology": ["a", "b", "c"]})
    used.to_parquet(tmp_path / "technologies.parquet")
    buckets = split(tmp_path, tmp_path / "b", 1)
    assert sum(len(tables.required("technologies")) for tables in buckets.tables()) == 2


def _text_dates(source: Path) -> None:
    frame = pd.read_parquet(source / "technologies.parquet")
    frame.assign(first_seen="01/02/2024").to_parquet(source / "technologies.parquet")


def _other_columns(source: Path) -> None:
    frame = pd.read_parquet(source / "technologies.parquet")
    (source / "technologies.parquet").unlink()
    (source / "technologies").mkdir()
    frame.to_parquet(source / "technologies" / "1.parquet")
    frame.drop(columns="first_seen").to_parquet(source / "technologies" / "2.parquet")


def _no_accounts(source: Path) -> None:
    (source / "accounts.parquet").unlink()


def _no_ids(source: Path) -> None:
    pd.DataFrame({"customer": ["a"]}).to_parquet(source / "accounts.parquet")


def _strangers(source: Path) -> None:
    frame = pd.read_parquet(source / "technologies.parquet")
    frame.assign(account_id="Z" + frame["account_id"]).to_parquet(source / "technologies.parquet")


def _two_currencies(source: Path) -> None:
    frame = pd.read_parquet(source / "subscriptions.parquet")
    frame.loc[0, "currency"] = "USD"
    frame.to_parquet(source / "subscriptions.parquet")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_text_dates, TableError, "technologies.first_seen: expected a date type, found"),
        (_other_columns, TableError, "expected the same columns in all files of technologies"),
        (_no_accounts, TableError, "expected accounts.parquet"),
        (_no_ids, TableError, "expected a column 'account_id', found"),
        (_strangers, RelationError, "found none of 100 rows"),
        (_two_currencies, TableError, "expected one currency, found 2"),
    ],
)
def test_what_only_the_whole_can_tell_is_refused(
    source: Path, tmp_path: Path, spoil: Any, error: type[Exception], message: str
) -> None:
    spoil(source)
    with pytest.raises(error, match=message):
        list(split(source, tmp_path / "b", 10, names=list(CONTRACTS)).tables())


def test_buckets_hold_at_least_a_row(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bucket_rows of at least 1"):
        split(source, tmp_path / "b", 0)


def test_accounts_that_are_all_refused_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, "accounts", [(None, 1.0), ("N/A", 2.0)], ["account_id", "employees"])
    with pytest.raises(TableError, match="every one is refused"):
        list(split(tmp_path, tmp_path / "b", 10).tables())
