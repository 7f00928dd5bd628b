from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icp_ml.data.tables import Tables, read_tables
from icp_ml.errors import DataWarning, RelationError, TableError

ACCOUNTS = pd.DataFrame({"account_id": ["a", "b", "c"], "industry": ["Retail", "Energy", "NA"]})
SUBSCRIPTIONS = pd.DataFrame(
    {
        "account_id": ["a", "b"],
        "start_date": ["2023-01-01", "2023-02-01"],
        "end_date": ["2024-01-01", ""],
        "arr": ["1200", "300"],
    }
)


def with_row(frame: pd.DataFrame, **cells: object) -> pd.DataFrame:
    return pd.concat([frame, pd.DataFrame([{**frame.iloc[0].to_dict(), **cells}])], ignore_index=True)


def refused(**tables: pd.DataFrame) -> list[tuple[str, str, int]]:
    _, rejects = read_tables({"accounts": ACCOUNTS, **tables})
    return [tuple(row) for row in rejects.frame[["table", "rule", "row"]].itertuples(index=False)]


def test_clean_tables_are_typed_and_whole() -> None:
    tables, rejects = read_tables({"accounts": ACCOUNTS, "subscriptions": SUBSCRIPTIONS})
    assert len(rejects) == 0
    assert rejects.counts().columns.tolist() == ["table", "rule", "n"]
    assert tables.subscriptions["arr"].tolist() == [1200.0, 300.0]
    assert str(tables.subscriptions["start_date"].dtype) == "datetime64[ns]"
    assert tables.subscriptions["end_date"].isna().tolist() == [False, True]
    assert tables.technologies is None
    assert list(tables.present()) == ["accounts", "subscriptions"]


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        ({"account_id": None}, "missing_account_id"),
        ({"account_id": "zz"}, "unknown_account"),
        ({"start_date": None}, "missing_start_date"),
        ({"start_date": "soon"}, "unreadable_date"),
        ({"end_date": "2023-02-30"}, "unreadable_date"),
        ({"arr": "free"}, "unreadable_number"),
        ({"arr": None}, "missing_arr"),
        ({"arr": "-5"}, "negative_arr"),
        ({"end_date": "2022-12-31"}, "end_before_start"),
    ],
)
def test_each_rule_refuses_its_row(cells: dict[str, object], rule: str) -> None:
    assert refused(subscriptions=with_row(SUBSCRIPTIONS, **cells)) == [("subscriptions", rule, 2)]


def test_a_refused_row_reports_account_and_value() -> None:
    _, rejects = read_tables({"accounts": ACCOUNTS, "subscriptions": with_row(SUBSCRIPTIONS, arr="free")})
    row = rejects.frame.iloc[0]
    assert (row["account_id"], row["found"], row["row"]) == ("a", "free", 2)
    assert rejects.counts().to_dict("records") == [
        {"table": "subscriptions", "rule": "unreadable_number", "n": 1}
    ]


def test_an_end_on_the_first_day_is_accepted() -> None:
    assert refused(subscriptions=with_row(SUBSCRIPTIONS, end_date="2023-01-01")) == []


def test_the_first_of_duplicate_accounts_stays() -> None:
    tables, rejects = read_tables({"accounts": with_row(ACCOUNTS, industry="Other")})
    assert tables.accounts["industry"].tolist() == ["Retail", "Energy", "NA"]
    assert rejects.counts()["rule"].tolist() == ["duplicate_account"]


def test_a_history_is_no_duplicate_but_a_repeated_date_is() -> None:
    dated = ACCOUNTS.assign(valid_from="2023-01-01")
    _, rejects = read_tables({"accounts": with_row(with_row(dated, valid_from="2024-01-01"), industry="X")})
    assert rejects.frame[["rule", "row"]].values.tolist() == [["duplicate_account", 4]]


def test_technologies_deals_and_others_have_rules() -> None:
    technologies = pd.DataFrame(
        {
            "account_id": ["a", "a", "b"],
            "technology": ["Slack", "", "Jira"],
            "first_seen": ["2023-01-01", "2023-01-01", "2023-05-01"],
            "last_seen": [None, None, "2023-01-01"],
        }
    )
    deals = pd.DataFrame(
        {"account_id": ["a", "b", "c"], "closed_date": ["2023-01-01"] * 3, "won": ["won", "lost", "perhaps"]}
    ).assign(amount=["5", "-5", "5"])
    found = refused(technologies=technologies, deals=deals)
    assert found == [
        ("technologies", "missing_technology", 1),
        ("technologies", "end_before_start", 2),
        ("deals", "negative_amount", 1),
        ("deals", "unreadable_flag", 2),
    ]


def test_a_missing_column_names_the_nearest() -> None:
    with pytest.raises(TableError, match=r"'arr' \(did you mean 'arr_usd'\?\)"):
        read_tables({"accounts": ACCOUNTS, "subscriptions": SUBSCRIPTIONS.rename(columns={"arr": "arr_usd"})})


def test_columns_can_be_renamed() -> None:
    source = {"accounts": ACCOUNTS, "subscriptions": SUBSCRIPTIONS.rename(columns={"arr": "arr_usd"})}
    tables, _ = read_tables(source, rename={"subscriptions": {"arr_usd": "arr"}})
    assert tables.subscriptions["arr"].tolist() == [1200.0, 300.0]
    assert "arr_usd" in source["subscriptions"].columns


@pytest.mark.parametrize(("column", "value"), [("arr", "lots"), ("start_date", "soon")])
def test_a_column_of_which_nothing_can_be_read_is_the_wrong_type(column: str, value: str) -> None:
    with pytest.raises(TableError, match=f"subscriptions.{column}: expected"):
        read_tables({"accounts": ACCOUNTS, "subscriptions": SUBSCRIPTIONS.assign(**{column: value})})


def test_amounts_in_two_currencies_are_refused_with_counts() -> None:
    with pytest.raises(TableError, match="expected one currency") as caught:
        read_tables({"accounts": ACCOUNTS, "subscriptions": SUBSCRIPTIONS.assign(arr=["$1,200", "300 €"])})
    assert caught.value.currencies == {"USD": 1, "EUR": 1}


def test_a_currency_column_with_two_currencies_is_refused() -> None:
    with pytest.raises(TableError, match="expected one currency"):
        read_tables({"accounts": ACCOUNTS, "subscriptions": SUBSCRIPTIONS.assign(currency=["USD", "EUR"])})


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["$1,200", "$300"], [1200.0, 300.0]),
        (["1 200 EUR", "300 EUR"], [1200.0, 300.0]),
        (["1.200,50 €", "1.200 €"], [1200.5, 1200.0]),
    ],
)
def test_arr_text(texts: list[str], numbers: list[float]) -> None:
    tables, _ = read_tables({"accounts": ACCOUNTS, "subscriptions": SUBSCRIPTIONS.assign(arr=texts)})
    assert tables.subscriptions["arr"].tolist() == numbers


def test_dates_that_could_be_either_are_refused_until_told() -> None:
    frame = SUBSCRIPTIONS.assign(start_date=["03/04/2023", "05/06/2023"], end_date=None)
    with pytest.raises(TableError, match="day_first"):
        read_tables({"accounts": ACCOUNTS, "subscriptions": frame})
    tables, _ = read_tables({"accounts": ACCOUNTS, "subscriptions": frame}, day_first=True)
    assert tables.subscriptions["start_date"].dt.month.tolist() == [4, 6]


@pytest.mark.parametrize("name", ["accounts", "subscriptions"])
def test_empty_tables_that_are_needed_are_refused(name: str) -> None:
    source = {"accounts": ACCOUNTS, "subscriptions": SUBSCRIPTIONS}
    with pytest.raises(TableError, match=f"expected rows in {name}"):
        read_tables({**source, name: source[name].iloc[:0]})


def test_a_table_of_which_every_row_is_refused_is_named_with_the_rules() -> None:
    with pytest.raises(TableError, match="every one is refused: {'negative_arr': 2}"):
        read_tables({"accounts": ACCOUNTS, "subscriptions": SUBSCRIPTIONS.assign(arr=["-1", "-2"])})


def test_other_empty_tables_are_fine() -> None:
    empty = pd.DataFrame({"account_id": [], "technology": []})
    tables, _ = read_tables({"accounts": ACCOUNTS, "technologies": empty})
    assert len(tables.technologies) == 0


def test_tables_without_any_common_account_are_refused() -> None:
    with pytest.raises(RelationError, match="found none of 2 rows: x1, x2"):
        read_tables({"accounts": ACCOUNTS, "subscriptions": SUBSCRIPTIONS.assign(account_id=["x1", "x2"])})


def test_accounts_are_needed_and_unknown_tables_refused() -> None:
    with pytest.raises(TableError, match="expected a table 'accounts'"):
        read_tables({"subscriptions": SUBSCRIPTIONS})
    with pytest.raises(TableError, match="did you mean 'subscriptions'"):
        read_tables({"accounts": ACCOUNTS, "subscription": SUBSCRIPTIONS})


def test_needing_a_table_that_is_not_there_says_so() -> None:
    with pytest.raises(TableError, match=r"add subscriptions\.csv"):
        Tables(ACCOUNTS).required("subscriptions")


def test_a_column_twice_is_refused() -> None:
    with pytest.raises(TableError, match="found \\['industry'\\] more than once"):
        read_tables({"accounts": pd.concat([ACCOUNTS, ACCOUNTS[["industry"]]], axis=1)})


def test_ids_match_across_types_and_spaces() -> None:
    accounts = pd.DataFrame({"account_id": [1.0, 2.0]})
    subscriptions = SUBSCRIPTIONS.assign(account_id=[" 1 ", "2"])
    tables, rejects = read_tables({"accounts": accounts, "subscriptions": subscriptions})
    assert len(rejects) == 0
    assert tables.accounts["account_id"].tolist() == ["1", "2"]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_files_of_every_kind_give_the_same(tmp_path: Path, ending: str) -> None:
    for name, frame in (("accounts", ACCOUNTS), ("subscriptions", SUBSCRIPTIONS)):
        if ending == ".parquet":
            frame.to_parquet(tmp_path / f"{name}{ending}", index=False)
        else:
            frame.to_csv(tmp_path / f"{name}{ending}", index=False)
    from_files, _ = read_tables(tmp_path)
    from_frames, _ = read_tables({"accounts": ACCOUNTS, "subscriptions": SUBSCRIPTIONS})
    for name, frame in from_frames.present().items():
        pd.testing.assert_frame_equal(from_files.present()[name], frame)
    from_paths, _ = read_tables({"accounts": tmp_path / f"accounts{ending}", "subscriptions": SUBSCRIPTIONS})
    pd.testing.assert_frame_equal(from_paths.accounts, from_frames.accounts)


def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    (tmp_path / "accounts").mkdir()
    ACCOUNTS.iloc[:2].to_csv(tmp_path / "accounts" / "1.csv", index=False)
    ACCOUNTS.iloc[2:].to_parquet(tmp_path / "accounts" / "2.parquet", index=False)
    tables, _ = read_tables(str(tmp_path))
    assert tables.accounts["account_id"].tolist() == ["a", "b", "c"]


def test_csv_details(tmp_path: Path) -> None:
    text = '\ufeffaccount_id;note;code\n1;"two\nlines";007\n2;;NA\n'
    (tmp_path / "accounts.csv").write_text(text, encoding="utf-8")
    tables, _ = read_tables(tmp_path)
    assert tables.accounts["code"].tolist() == ["007", "NA"]
    assert tables.accounts["note"].isna().tolist() == [False, True]


def test_other_encodings_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "accounts.csv").write_bytes("account_id,city\n1,Zürich\n".encode("latin-1"))
    with pytest.raises(TableError, match="encoding"):
        read_tables(tmp_path)
    tables, _ = read_tables(tmp_path, encoding="latin-1")
    assert tables.accounts["city"].tolist() == ["Zürich"]


def test_folder_trouble_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="found no folder"):
        read_tables(tmp_path / "nowhere")
    with pytest.raises(TableError, match="expected a table 'accounts'"):
        read_tables(tmp_path)
    with pytest.raises(TableError, match="expected a file ending in"):
        read_tables({"accounts": tmp_path / "accounts.xlsx"})
    (tmp_path / "accounts").mkdir()
    with pytest.raises(TableError, match="found none"):
        read_tables(tmp_path)
    (tmp_path / "accounts").rmdir()
    ACCOUNTS.to_csv(tmp_path / "accounts.csv", index=False)
    SUBSCRIPTIONS.to_csv(tmp_path / "subscription.csv", index=False)
    with pytest.warns(DataWarning, match="looks like the table 'subscriptions'"):
        read_tables(tmp_path)
    ACCOUNTS.to_parquet(tmp_path / "accounts.parquet")
    (tmp_path / "subscription.csv").unlink()
    with pytest.raises(TableError, match="keep one"):
        read_tables(tmp_path)


@pytest.mark.parametrize("content", [b"", b"account_id,x\n1\n2,3,4\n"])
def test_broken_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "accounts.csv").write_bytes(content)
    with pytest.raises(TableError, match="expected a readable table"):
        read_tables(tmp_path)


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "accounts.parquet").write_bytes(b"no parquet")
    with pytest.raises(TableError, match="expected a readable table"):
        read_tables(tmp_path)


CELL = st.sampled_from(["a", "b", "zz", "", None, "2023-01-01", "2022-01-01", "soon", "5", "-5", "$7", "x"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELL, CELL, CELL, CELL), max_size=12), st.lists(CELL, max_size=5))
def test_rows_in_are_rows_accepted_and_rows_refused(
    rows: list[tuple[object, ...]], ids: list[object]
) -> None:
    good = ("a", "2023-01-01", None, "5")
    subscriptions = pd.DataFrame(
        [good, *rows], columns=["account_id", "start_date", "end_date", "arr"], dtype=object
    )
    accounts = pd.DataFrame({"account_id": ["a", "b", *ids]}, dtype=object)
    try:
        tables, rejects = read_tables({"accounts": accounts, "subscriptions": subscriptions})
    except TableError as error:
        assert "end_date" in str(error)  # noqa: PT017  (no readable end date in the whole column)
        return
    counts = rejects.frame.groupby("table").size()
    for name, source in (("accounts", accounts), ("subscriptions", subscriptions)):
        assert rejects.rows_in[name] == len(source)
        assert len(tables.present()[name]) + int(counts.get(name, 0)) == len(source)
    assert not rejects.frame.duplicated(["table", "row"]).any()
    assert (tables.subscriptions["arr"] >= 0).all()
    assert np.isin(tables.subscriptions["account_id"], tables.accounts["account_id"]).all()
