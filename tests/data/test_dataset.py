from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icp_ml.data.dataset import LABEL_COLUMNS, Dataset, conform
from icp_ml.data.schema import Schema
from icp_ml.errors import ConfigError, InputMismatchError, InputWarning, NotEnoughDataError, TableError

FRAME = pd.DataFrame(
    {
        "customer": ["c1", "c2", "c3", "c4"],
        "employees": [5, 50, None, 500],
        "industry": ["Retail", "Energy", "Retail", None],
        "public": ["yes", "no", None, "yes"],
        "stack": ["Slack;Jira", None, "Zoom", "Slack"],
        "renewed": [1, 0, 1, 0],
        "grew": ["yes", None, "no", "yes"],
    }
)


def from_frame(frame: pd.DataFrame = FRAME, **settings: object) -> Dataset:
    arguments = {
        "account_id": "customer",
        "labels": {"retained": "renewed"},
        "technologies": ["stack"],
        "drop": ["grew"],
    }
    return Dataset.from_frame(frame, **{**arguments, **settings})


def test_a_labelled_frame_becomes_a_dataset() -> None:
    dataset = from_frame()
    assert dataset.features.columns.tolist() == [
        "account_id",
        "as_of",
        "employees",
        "industry",
        "public",
        "stack",
    ]
    assert dataset.schema.account_id == "customer"
    assert dict(dataset.schema.delimiters) == {"stack": ";"}
    assert [feature.kind for feature in dataset.schema.features] == [
        "numeric",
        "category",
        "boolean",
        "technologies",
    ]
    assert dataset.labels.columns.tolist() == list(LABEL_COLUMNS)
    assert dataset.labels["retained"].tolist() == [True, False, True, False]
    assert dataset.labels["expanded"].isna().all()
    assert dataset.labels["snapshot_date"].isna().all()
    assert dataset.targets == ("retained",)
    assert dataset.groups.tolist() == ["c1", "c2", "c3", "c4"]
    assert dataset.horizon_months is None
    assert list(dataset.features["stack"].iloc[0]) == ["Jira", "Slack"]


def test_two_labels_keep_rows_of_which_one_is_known() -> None:
    labels = {"retained": "renewed", "expanded": "grew"}
    frame = FRAME.assign(renewed=[1, None, 0, None], grew=["yes", None, "no", "no"])
    dataset = from_frame(frame, labels=labels, drop=[])
    assert dataset.groups.tolist() == ["c1", "c3", "c4"]
    assert dataset.facts["dropped"]["label_unknown"] == 1
    rows, y = dataset.target("retained")
    assert rows.tolist() == [0, 1]
    assert y.tolist() == [1.0, 0.0]
    assert dataset.target("expanded")[1].tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(ConfigError, match="expected one of"):
        dataset.target("renewed")


@pytest.mark.parametrize(
    "cells",
    [[True, False, True, False], ["Yes", "No", "Yes", "No"], [1.0, 0.0, 1.0, 0.0], ["1", "0", "1", "0"]],
)
def test_labels_of_every_sort(cells: list[object]) -> None:
    assert from_frame(FRAME.assign(renewed=cells)).target("retained")[1].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert (
        from_frame(FRAME.assign(renewed=pd.array([1, 0, 1, 0], dtype="Int64"))).target("retained")[1].sum()
        == 2
    )


@pytest.mark.parametrize("cells", [[1, 1, 1, 1], [0, 0, 0, None], [None] * 4])
def test_equal_labels_are_refused(cells: list[object]) -> None:
    with pytest.raises(NotEnoughDataError, match="expected both outcomes in 'renewed'"):
        from_frame(FRAME.assign(renewed=cells))


def test_a_label_that_is_no_flag_is_refused() -> None:
    with pytest.raises(TableError, match="found 4 other values: 3, 4, 5, 6"):
        from_frame(FRAME.assign(renewed=[3, 4, 5, 6]))


@pytest.mark.parametrize("labels", [{}, {"won": "renewed"}])
def test_labels_must_be_known_targets(labels: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="expected labels"):
        from_frame(labels=labels)


def test_a_missing_column_names_the_nearest() -> None:
    with pytest.raises(TableError, match="did you mean 'renewed'"):
        from_frame(labels={"retained": "renewd"})
    with pytest.raises(TableError, match="empty frame"):
        from_frame(FRAME.iloc[:0])
    with pytest.raises(TableError, match="more than once"):
        from_frame(pd.concat([FRAME, FRAME[["industry"]]], axis=1))
    with pytest.raises(TableError, match="expected feature columns"):
        from_frame(FRAME[["customer", "renewed"]], technologies=[], drop=[])


@pytest.mark.parametrize(
    "cells",
    [
        [["Slack", "Jira"], None, ["Zoom"], ["Slack"]],
        [np.array(["Slack", "Jira"]), None, np.array(["Zoom"]), np.array(["Slack"])],
        ["Slack|Jira", None, "Zoom", "Slack"],
        ["Jira,Slack", None, "Zoom", "Slack"],
    ],
)
def test_technologies_of_every_sort(cells: list[object]) -> None:
    frame = FRAME.assign(stack=pd.Series(cells, dtype=object))
    stacks = from_frame(frame).features["stack"]
    assert [list(cell) for cell in stacks.dropna()] == [["Jira", "Slack"], ["Zoom"], ["Slack"]]
    assert stacks.isna().tolist() == [False, True, False, False]


def test_dates_make_ages_snapshots_and_keep_conform_honest() -> None:
    frame = FRAME.assign(day=["2023-12-31", "2024-12-31"] * 2, founded=["2013-12-31", "2014-12-31"] * 2)
    dataset = from_frame(frame, snapshot_date="day", horizon_months=6)
    assert dataset.features["founded"].tolist() == pytest.approx([10.0] * 4, abs=0.01)
    assert dataset.features["as_of"].equals(dataset.labels["snapshot_date"])
    assert dataset.facts["snapshots"] == ["2023-12-31", "2024-12-31"]
    assert dataset.facts["not_point_in_time"] == []
    assert dataset.horizon_months == 6
    again = conform(frame, dataset.schema)
    pd.testing.assert_frame_equal(again, dataset.features)
    with pytest.raises(InputMismatchError, match="as_of"):
        conform(frame.drop(columns="day"), dataset.schema)
    dateless = from_frame(frame.drop(columns="day"))
    assert "no snapshot date" in dict(dateless.schema.dropped)["founded"]


def test_kinds_can_be_told() -> None:
    frame = FRAME.assign(postcode=[94105, 10115, 8001, 94105], level=["1", "0", "1", "1"])
    dataset = from_frame(frame, category=["postcode"], numeric=["level"], post_sale=["employees"])
    assert dataset.schema.kind("postcode") == "category"
    assert dataset.features["postcode"].tolist() == ["94105", "10115", "8001", "94105"]
    assert dataset.schema.kind("level") == "numeric"
    assert dataset.schema.features[0].family == "post_sale"


def test_several_rows_per_account_are_one_group_and_names_are_still_id_like() -> None:
    frame = pd.concat([FRAME.assign(customer=[f"c{k}-{place}" for place in range(4)]) for k in range(20)] * 4)
    frame["name"] = "Company " + frame["customer"]
    dataset = from_frame(frame)
    assert len(np.unique(dataset.groups)) == 80
    assert "id-like: 80 different values in 80 accounts" in dict(dataset.schema.dropped)["name"]


def test_rows_without_account_are_left_out_and_counted() -> None:
    dataset = from_frame(FRAME.assign(customer=["c1", "c2", None, "c4"]))
    assert len(dataset) == 3
    assert dataset.facts["dropped"]["missing_account_id"] == 1


def test_rows_without_date_are_left_out_and_other_dates_refused() -> None:
    frame = FRAME.assign(day=["2023-12-31", None, "2023-12-31", "2023-12-31"], as_of=[1, 2, 3, 4])
    dataset = from_frame(frame.assign(renewed=[1, 1, 0, 0]), snapshot_date="day")
    assert dataset.facts["dropped"]["missing_date"] == 1
    assert len(dataset) == 3
    assert "reserved" in dict(dataset.schema.dropped)["as_of"]
    with pytest.raises(TableError, match="expected dates such as 2024-06-30 in 'day', found 4 others: soon"):
        from_frame(FRAME.assign(day="soon"), snapshot_date="day")
    with pytest.raises(NotEnoughDataError, match="found none with account"):
        from_frame(FRAME.assign(customer=None))


def test_take_by_position_and_by_mask() -> None:
    dataset = from_frame()
    picked = dataset.take(np.array([3, 0]))
    assert picked.groups.tolist() == ["c4", "c1"]
    assert picked.features.index.tolist() == [0, 1]
    assert picked.labels["account_id"].tolist() == ["c4", "c1"]
    assert dataset.take(np.array([True, False, False, True])).groups.tolist() == ["c1", "c4"]
    with pytest.raises(ConfigError):
        dataset.take(np.array([True]))


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("employees", [5, 50, None, 501]),
        ("employees", [5, 50, 0, 500]),
        ("industry", ["Retail", "Energy", "Retail", "None"]),
        ("industry", ["Retail", "Energy", None, "Retail"]),
        ("public", ["yes", "no", "no", "yes"]),
        ("stack", ["Slack;Jira", None, "Zoom", "slack"]),
        ("stack", ["Slack", "Jira", "Zoom", "Slack"]),
        ("renewed", [1, 0, 0, 0]),
        ("customer", ["c1", "c2", "c3", "c5"]),
    ],
)
def test_the_fingerprint_sees_every_cell(column: str, cells: list[object]) -> None:
    assert from_frame(FRAME.assign(**{column: cells})).fingerprint() != from_frame().fingerprint()


def test_the_fingerprint_sees_dates_horizon_and_order_but_no_index() -> None:
    dated = FRAME.assign(day=["2023-12-31"] * 4)
    first = from_frame(dated, snapshot_date="day").fingerprint()
    moved = from_frame(
        dated.assign(day=["2023-12-31"] * 3 + ["2024-01-01"]), snapshot_date="day"
    ).fingerprint()
    assert len({first, moved, from_frame(dated, snapshot_date="day", horizon_months=3).fingerprint()}) == 3
    assert from_frame(FRAME.set_index(pd.Index([7, 3, 1, 0]))).fingerprint() == from_frame().fingerprint()
    assert from_frame().take(np.array([1, 0, 2, 3])).fingerprint() != from_frame().fingerprint()
    text = FRAME.assign(employees=["5", "50.0", None, "500"])
    assert from_frame(text).fingerprint() == from_frame().fingerprint()


def test_the_fingerprint_is_the_same_tomorrow() -> None:
    assert from_frame().fingerprint() == "2eb807a82b20a5a723660b0f6ab0c2edfe66950573606dc62a429cc790189ac5"


SCHEMA = from_frame().schema


@pytest.mark.parametrize(
    "cells",
    [
        pd.array([5, 50, None, 500], dtype="Int64"),
        [Decimal("5"), Decimal("50.0"), None, Decimal(500)],
        ["5", " 50 ", "", "5e2"],
        pd.array([5.0, 50.0, None, 500.0], dtype="float64[pyarrow]"),
        pd.Categorical([5, 50, None, 500]),
    ],
)
def test_conform_reads_numbers_of_every_dtype(cells: object) -> None:
    found = conform(FRAME.assign(employees=cells), SCHEMA)
    pd.testing.assert_frame_equal(found, from_frame().features)


def test_conform_ignores_order_and_extra_columns_and_accepts_its_own_result() -> None:
    found = conform(FRAME[FRAME.columns[::-1]].assign(extra=1), SCHEMA)
    pd.testing.assert_frame_equal(found, from_frame().features)
    pd.testing.assert_frame_equal(conform(found, SCHEMA), found)


@settings(deadline=None)
@given(st.permutations(range(4)), st.integers(1, 4))
def test_conform_reads_each_row_on_its_own(order: list[int], size: int) -> None:
    whole = from_frame().features
    part = conform(FRAME.iloc[order[:size]], SCHEMA)
    pd.testing.assert_frame_equal(part, whole.iloc[order[:size]].reset_index(drop=True))


def test_conform_counts_missing_columns_in_one_warning() -> None:
    with pytest.warns(InputWarning, match="2 of 4 feature columns are missing") as caught:
        found = conform(FRAME.drop(columns=["industry", "stack"]), SCHEMA)
    assert len(caught) == 1
    assert found["industry"].isna().all()
    assert found["stack"].isna().all()
    assert found.dtypes.tolist() == from_frame().features.dtypes.tolist()


def test_conform_refuses_what_it_cannot_read() -> None:
    with pytest.raises(
        InputMismatchError, match="2 of 4 that are not: 'few', 'many' in accounts c1, c2"
    ) as caught:
        conform(FRAME.assign(employees=["few", "many", 1, 2]), SCHEMA)
    assert caught.value.count == 2
    with pytest.raises(InputMismatchError, match="boolean values in 'public'"):
        conform(FRAME.assign(public="perhaps"), SCHEMA)
    with pytest.raises(InputMismatchError, match="expected the account column 'customer'"):
        conform(FRAME.drop(columns="customer"), SCHEMA)
    with pytest.raises(InputMismatchError, match="found 1 of 4 empty, first at row 2"):
        conform(FRAME.assign(customer=["c1", "c2", None, "c4"]), SCHEMA)
    with pytest.raises(InputMismatchError, match="found none of them"):
        conform(FRAME[["customer"]], SCHEMA)
    with pytest.raises(InputMismatchError, match="more than once"):
        conform(pd.concat([FRAME, FRAME[["industry"]]], axis=1), SCHEMA)
    with pytest.raises(InputMismatchError, match="expected dates in 'as_of'"):
        conform(FRAME.assign(as_of="soon"), SCHEMA)


def test_conform_derives_parent_codes_and_takes_plain_account_ids() -> None:
    frame = FRAME.assign(naics=["541511", "541512", "238220", None])
    dataset = from_frame(frame)
    assert [name for name in dataset.schema.names if name.startswith("naics")] == [
        "naics",
        "naics_4",
        "naics_2",
    ]
    found = conform(frame.rename(columns={"customer": "account_id"}), dataset.schema)
    assert found["naics_2"].tolist()[:3] == ["54", "54", "23"]
    pd.testing.assert_frame_equal(found, dataset.features)


def test_columns_may_be_named_by_numbers() -> None:
    frame = pd.DataFrame({0: ["a", "b", "c"], 1: [1.5, 2.5, 3.5], 2: [0, 1, 0]})
    dataset = Dataset.from_frame(frame, account_id="0", labels={"retained": "2"})
    assert dataset.schema.names == ["1"]
    assert conform(frame, dataset.schema)["1"].tolist() == [1.5, 2.5, 3.5]


def test_schema_survives_json() -> None:
    assert Schema.from_dict(SCHEMA.to_dict()) == SCHEMA
