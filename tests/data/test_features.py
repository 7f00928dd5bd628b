from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icp_ml.data.features import build_features, features_schema
from icp_ml.data.schema import Schema
from icp_ml.data.tables import Tables, read_tables
from icp_ml.errors import DataWarning, InputMismatchError, TableError


def tables_of(**frames: pd.DataFrame) -> Tables:
    tables, rejects = read_tables(frames)
    assert len(rejects) == 0
    return tables


def accounts(n: int = 3, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"account_id": [f"a{place}" for place in range(n)], **columns})


def features_of(tables: Tables, as_of: str = "2024-01-31", **settings: object) -> pd.DataFrame:
    return build_features(tables, as_of=as_of, **settings).set_index("account_id")


def technologies(*rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["account_id", "technology", "first_seen", "last_seen"][: len(rows[0])])


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        ([1, 5, 9], "numeric", [1.0, 5.0, 9.0]),
        (["1,200", "15", None], "numeric", [1200.0, 15.0, np.nan]),
        ([True, False, True], "boolean", [1.0, 0.0, 1.0]),
        ([0, 1, 1], "boolean", [0.0, 1.0, 1.0]),
        (["Yes", "no", None], "boolean", [1.0, 0.0, np.nan]),
        ([" Retail ", "Energy", ""], "category", ["Retail", "Energy", None]),
        (["10-50", "1-10", "None"], "category", ["10-50", "1-10", "None"]),
        (["2014-01-31", "2024-01-31", "2025-01-01"], "numeric", [10.0, 0.0, np.nan]),
        (pd.to_datetime(["2014-01-31", None, "2024-01-31"]), "numeric", [10.0, np.nan, 0.0]),
        ([["x"], [], None], "technologies", [["x"], [], None]),
    ],
)
def test_kinds_are_inferred_and_read(cells: object, kind: str, values: list[object]) -> None:
    tables = tables_of(accounts=accounts(column=cells))
    assert features_schema(tables).kind("column") == kind
    column = features_of(tables)["column"]
    for found, expected, missing in zip(column, values, column.isna(), strict=True):
        if expected is None or (isinstance(expected, float) and np.isnan(expected)):
            assert missing
        elif isinstance(expected, float):
            assert found == pytest.approx(expected, abs=0.01)
        else:
            assert (list(found) if kind == "technologies" else found) == expected


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([f"Company {place}" for place in range(200)], "id-like"),
        (["same"] * 200, "constant"),
        ([7] * 200, "constant"),
        ([None] * 200, "empty"),
        ([f"they said that nothing works any more {place // 2}" for place in range(200)], "free text"),
        (["1", *(str(place) for place in range(198)), "about 7"], "numbers but for 1 cells of text"),
        ([f"${place}" if place % 2 else f"{place} €" for place in range(200)], "several currencies"),
    ],
)
def test_what_is_no_feature_is_dropped_with_its_reason(cells: list[object], reason: str) -> None:
    schema = features_schema(tables_of(accounts=accounts(200, column=cells)))
    assert schema.names == []
    assert reason in dict(schema.dropped)["column"]


def test_whole_numbers_that_are_ids_by_name_are_dropped() -> None:
    numbers = np.arange(200)
    schema = features_schema(tables_of(accounts=accounts(200, crm_id=numbers, revenue=numbers)))
    assert schema.names == ["revenue"]


@pytest.mark.parametrize("cast", [float, str])
def test_numbers_with_fractions_are_no_ids_whatever_their_name(cast: type) -> None:
    index = [cast(place / 8) for place in range(200)]
    schema = features_schema(tables_of(accounts=accounts(200, credit_index=index)))
    assert [(feature.name, feature.kind) for feature in schema.features] == [("credit_index", "numeric")]


def test_postcodes_are_categories_and_running_numbers_no_features() -> None:
    numbers = np.arange(200)
    table = accounts(200, zip_code=10000 + numbers % 7, lead_number=numbers, number_of_sites=numbers)
    schema = features_schema(tables_of(accounts=table))
    assert [(feature.name, feature.kind) for feature in schema.features] == [
        ("zip_code", "category"),
        ("number_of_sites", "numeric"),
    ]


def test_a_value_or_nothing_stays_a_feature() -> None:
    schema = features_schema(tables_of(accounts=accounts(flag=["partner", None, None])))
    assert schema.names == ["flag"]


def test_industry_codes_get_parent_levels() -> None:
    tables = tables_of(accounts=accounts(naics=[541511.0, 5415.0, 54.0], sic_code=["73", "72", "71"]))
    found = features_of(tables)
    assert found.columns.tolist() == ["as_of", "naics", "naics_4", "naics_2", "sic_code", "sic_code_2"]
    assert found["naics"].tolist() == ["541511", "5415", "54"]
    assert found["naics_4"].tolist()[:2] == ["5415", "5415"]
    assert found["naics_4"].isna().tolist() == [False, False, True]
    assert found["naics_2"].tolist() == ["54"] * 3


def test_families_follow_the_name_and_post_sale_is_asked_for() -> None:
    tables = tables_of(accounts=accounts(size=[1, 2, 3], data_team=[1, 2, 3], plan_tier=["x", "y", "z"]))
    schema = features_schema(tables)
    assert {feature.name: feature.family for feature in schema.features} == {
        "size": "firmographic",
        "data_team": "readiness",
    }
    assert "post_sale=True" in dict(schema.dropped)["plan_tier"]
    assert features_schema(tables, post_sale=True).features[-1].family == "post_sale"


def test_columns_are_point_in_time_only_with_a_history() -> None:
    plain = features_schema(tables_of(accounts=accounts(size=[1, 2, 3])))
    dated = features_schema(tables_of(accounts=accounts(size=[1, 2, 3], valid_from="2020-01-01")))
    assert [plain.features[0].point_in_time, dated.features[0].point_in_time] == [False, True]
    tools = technologies(("a0", "x"), ("a1", "y"))
    undated = features_schema(tables_of(accounts=accounts(), technologies=tools))
    assert not any(feature.point_in_time for feature in undated.features)


@pytest.mark.parametrize(
    ("as_of", "size"), [("2023-12-30", None), ("2023-12-31", 1), ("2024-06-29", 1), ("2024-06-30", 2)]
)
def test_the_row_valid_on_the_day_counts(as_of: str, size: float | None) -> None:
    history = pd.DataFrame(
        {"account_id": ["a", "a", "b"], "valid_from": ["2024-06-30", "2023-12-31", None], "size": [2, 1, 7]}
    )
    schema = features_schema(tables_of(accounts=history))
    found = features_of(tables_of(accounts=history), as_of, schema=schema)["size"]
    assert found["b"] == 7
    assert found["a"] == size or (size is None and np.isnan(found["a"]))


def test_a_row_counts_only_once_observed() -> None:
    history = pd.DataFrame(
        {
            "account_id": ["a", "a", "a"],
            "valid_from": ["2020-01-01", "2022-01-01", "2022-01-01"],
            "observed_at": ["2020-01-01", "2024-02-01", "2022-02-01"],
            "size": [1, 3, 2],
        }
    )
    tables = tables_of(accounts=history)
    schema = features_schema(tables)
    sizes = [
        features_of(tables, day, schema=schema)["size"].iloc[0]
        for day in ("2022-01-31", "2022-02-01", "2024-02-01")
    ]
    assert sizes == [1, 2, 3]


@pytest.mark.parametrize(
    ("row", "stack"),
    [
        (("a0", "Slack", None, None), ["Slack"]),
        (("a0", "Slack", "2024-01-31", None), ["Slack"]),
        (("a0", "Slack", "2024-02-01", None), None),
        (("a0", "Slack", "2023-01-01", "2024-01-31"), ["Slack"]),
        (("a0", "Slack", "2023-01-01", "2024-01-30"), []),
        (("a0", "Slack", None, "2024-01-30"), []),
    ],
)
def test_a_tool_is_in_use_from_first_to_last_sighting(
    row: tuple[object, ...], stack: list[str] | None
) -> None:
    tables = tables_of(accounts=accounts(), technologies=technologies(row, ("a1", "Zoom", None, None)))
    found = features_of(tables)
    cell = found["technologies"].iloc[0]
    assert (stack is None and cell is pd.NA) or list(cell) == stack
    count = found["technology_count"].iloc[0]
    assert np.isnan(count) if stack is None else count == len(stack)
    assert found["technologies"].isna().tolist()[2]


def test_grace_days_extend_the_last_sighting() -> None:
    tools = technologies(("a0", "Slack", None, "2024-01-01"), ("a1", "Zoom", None, None))
    tables = tables_of(accounts=accounts(), technologies=tools)
    stacks = [
        list(features_of(tables, technology_grace_days=days)["technologies"].iloc[0]) for days in (29, 30)
    ]
    assert stacks == [[], ["Slack"]]


def test_a_table_in_which_every_tool_is_gone_warns() -> None:
    tools = technologies(("a0", "Slack", None, "2024-01-01"), ("a1", "Zoom", None, "2023-01-01"))
    tables = tables_of(accounts=accounts(), technologies=tools)
    with pytest.warns(DataWarning, match="technology_grace_days=30"):
        features_of(tables)
    assert list(features_of(tables, technology_grace_days=30)["technologies"].iloc[0]) == ["Slack"]
    features_of(tables, "2024-01-01")


def test_tools_keep_their_spelling_merge_case_and_follow_aliases() -> None:
    tools = technologies(("a0", " slack "), ("a0", "Slack"), ("a0", "MS Teams"), ("a1", "SLACK"))
    tables = tables_of(accounts=accounts(), technologies=tools)
    found = features_of(tables, technology_aliases={"ms teams": "Microsoft Teams"})["technologies"]
    assert [list(cell) for cell in found.iloc[:2]] == [["Microsoft Teams", "Slack"], ["SLACK"]]


def test_categories_roll_up() -> None:
    tools = technologies(("a0", "Slack"), ("a0", "Zoom"), ("a0", "Jira"), ("a1", "Jira"))
    tools["category"] = ["chat", "Chat", None, None]
    found = features_of(tables_of(accounts=accounts(), technologies=tools))
    assert list(found["technology_categories"].iloc[0]) == ["Chat"]
    assert list(found["technology_categories"].iloc[1]) == []
    assert found["technology_categories"].isna().iloc[2]


def post_sale_tables() -> Tables:
    contracts = pd.DataFrame(
        {
            "account_id": ["a0", "a0", "a1", "a0"],
            "start_date": ["2023-01-31", "2023-06-30", "2020-01-01", "2024-02-01"],
            "end_date": [None, None, "2021-01-01", None],
            "arr": [1, 1, 1, 1],
            "discount": [0.1, 0.3, 0.5, 0.9],
            "product": ["x", "y", "x", "z"],
        }
    )
    tickets = pd.DataFrame(
        {"account_id": ["a0"] * 4, "date": ["2023-01-31", "2023-02-01", "2024-01-31", "2024-02-01"]}
    )
    nps = pd.DataFrame(
        {"account_id": ["a0"] * 3, "date": ["2023-01-01", "2024-01-31", "2024-02-01"], "score": [1, 9, 5]}
    )
    usage = pd.DataFrame(
        {"account_id": ["a0"] * 4, "date": ["2023-11-02", "2023-11-03", "2024-01-31", "2024-02-01"]}
    ).assign(metric="logins", value=[100, 4, 8, 500])
    return tables_of(accounts=accounts(), subscriptions=contracts, tickets=tickets, nps=nps, usage=usage)


def test_post_sale_features_look_back_from_the_day() -> None:
    row = features_of(post_sale_tables(), post_sale=True).loc["a0"]
    assert row["tenure_months"] == pytest.approx(12.0, abs=0.05)
    assert row["discount_mean"] == pytest.approx(0.2)
    assert row["product_count"] == 2
    assert row["tickets_12m"] == 2
    assert row["nps_last"] == 9
    assert row["usage_logins_mean_90d"] == 6
    others = features_of(post_sale_tables(), post_sale=True).loc["a2"]
    assert others["tickets_12m"] == 0
    assert others.drop(["as_of", "tickets_12m"]).isna().all()


def test_post_sale_features_stay_out_unless_asked_for() -> None:
    assert features_of(post_sale_tables()).columns.tolist() == ["as_of"]


def test_rows_are_sorted_or_as_asked() -> None:
    tables = tables_of(accounts=accounts(size=[1, 2, 3]).iloc[::-1])
    assert build_features(tables, as_of="2024-01-31")["account_id"].tolist() == ["a0", "a1", "a2"]
    picked = build_features(tables, as_of="2024-01-31", accounts=["a2", "a0"])
    assert picked["size"].tolist() == [3.0, 1.0]
    with pytest.raises(InputMismatchError, match="1 unknown ones: zz"):
        build_features(tables, as_of="2024-01-31", accounts=["a2", "zz"])


def test_a_schema_that_does_not_fit_is_refused() -> None:
    numeric = features_schema(tables_of(accounts=accounts(size=[1, 2, 3])))
    with pytest.raises(TableError, match=r"accounts\.size, found 1 that are not: big in accounts a2"):
        features_of(tables_of(accounts=accounts(size=["1", "2", "big"])), schema=numeric)
    with pytest.raises(TableError, match="'size' is made of"):
        features_of(tables_of(accounts=accounts()), schema=numeric)


def test_reserved_names_are_no_features() -> None:
    tools = technologies(("a0", "x"), ("a1", "y"))
    schema = features_schema(tables_of(accounts=accounts(technology_count=[1, 2, 3]), technologies=tools))
    assert "reserved" in dict(schema.dropped)["technology_count"]


def test_a_schema_survives_json() -> None:
    schema = features_schema(post_sale_tables(), post_sale=True)
    assert Schema.from_dict(schema.to_dict()) == schema
