"""What scoring takes as it is must be what ``conform`` would have made of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icp_ml.data.conform import conform
from icp_ml.data.schema import Feature, Schema
from icp_ml.data.technologies import LIST_DTYPE
from icp_ml.errors import InputMismatchError
from icp_ml.model.columns import Columns, read_columns
from icp_ml.serve import scoreinput
from icp_ml.serve.scoreinput import read_input

SCHEMA = Schema((Feature("plan", "category"), Feature("tools", "technologies"), Feature("size", "numeric")))
CLEAN = [["Jira", "dbt"], [], None, ["dbt", "AWS"]]


def frame(tools: list, plan: object = None) -> pd.DataFrame:
    n = len(tools)
    return pd.DataFrame(
        {
            "account_id": [f"a{i}" for i in range(n)],
            "as_of": pd.Timestamp("2026-01-31"),
            "plan": pd.Categorical(["x"] * n) if plan is None else plan,
            "tools": pd.Series(tools, dtype=LIST_DTYPE),
            "size": np.arange(n, dtype=float),
        }
    )


def said(columns: Columns) -> list:
    """Return each row's level, tools and whether they are known."""
    stack, plan = columns.tools["tools"], columns.categories["plan"]
    levels = (*plan.levels, None)
    return [
        (
            levels[plan.codes[row]],
            sorted(stack.names[j] for j in stack.uses[row].indices),
            bool(stack.known[row]),
        )
        for row in range(columns.n_rows)
    ]


def conformed_tools(monkeypatch: pytest.MonkeyPatch, features: pd.DataFrame) -> list[str]:
    """Return the technologies columns that went through ``conform``."""
    seen: list[str] = []

    def watched(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
        seen.extend(schema.of_kind("technologies"))
        return conform(table, schema)

    monkeypatch.setattr(scoreinput, "conform", watched)
    read_input(features, SCHEMA)
    return seen


def test_clean_lists_are_taken_as_they_are(monkeypatch):
    assert conformed_tools(monkeypatch, frame(CLEAN)) == []


@pytest.mark.parametrize("tool", [" dbt", "", "n/a", "DBT", "dbt", None])
def test_lists_that_need_cleaning_are_cleaned(monkeypatch, tool):
    dirty = [*CLEAN, ["dbt", tool]]
    assert conformed_tools(monkeypatch, frame(dirty)) == ["tools"]
    found = read_input(frame(dirty), SCHEMA)
    assert said(found.columns)[-1] == ("x", ["dbt"], True)
    assert len(found.lists["tools"][-1]) == 1


TOOL = st.sampled_from(["dbt", "DBT", " dbt", "Jira", "AWS", "n/a", "", "a  b", "A b", None])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.lists(TOOL, max_size=4), min_size=1, max_size=6))
def test_whatever_the_lists_hold_conform_says_the_same(tools):
    features = frame(tools)
    found = read_input(features, SCHEMA)
    wanted = conform(features, SCHEMA)
    assert said(found.columns) == said(read_columns(wanted, SCHEMA))
    for own, other in zip(found.lists["tools"].to_pylist(), wanted["tools"], strict=True):
        assert (own is None) == (other is pd.NA)
        assert own is None or sorted(own) == sorted(other)


def test_lists_of_either_width_and_python_lists_are_the_same():
    narrow = frame(CLEAN)
    wide = narrow.assign(tools=narrow["tools"].astype(pd.ArrowDtype(pa.large_list(pa.string()))))
    python = narrow.assign(tools=pd.Series(CLEAN, dtype=object))
    for other in (wide, python):
        assert said(read_input(other, SCHEMA).columns) == said(read_input(narrow, SCHEMA).columns)


@pytest.mark.parametrize(
    "plan",
    [
        pd.Categorical([" Pro", "Pro", "n/a", None], categories=[" Pro", "Pro", "n/a", "unused"]),
        pd.Categorical([True, False, True, None]),
        pd.Categorical([1, 0, 1, None]),
        pd.Categorical([1.0, 0.0, 1.0, None]),
        pd.Categorical(["p3"] * 4, categories=[f"p{i}" for i in range(50)]),
    ],
)
def test_levels_are_cleaned_once_each_and_never_confused(plan):
    features = frame(CLEAN, plan)
    for _ in range(2):
        assert said(read_input(features, SCHEMA).columns) == said(
            read_columns(conform(features, SCHEMA), SCHEMA)
        )


def test_levels_of_later_batches_are_their_own():
    for levels in (["a", "b"], ["b", "a"], ["a", "c"]):
        features = frame(CLEAN, pd.Categorical([levels[0], levels[1], levels[1], None], categories=levels))
        assert [row[0] for row in said(read_input(features, SCHEMA).columns)] == [
            levels[0],
            levels[1],
            levels[1],
            None,
        ]


def test_a_column_that_is_there_twice_is_refused_as_conform_does():
    twice = pd.concat([frame(CLEAN), frame(CLEAN)[["tools"]]], axis=1)
    with pytest.raises(Exception, match="more than once") as found:
        read_input(twice, SCHEMA)
    with pytest.raises(type(found.value)):
        conform(twice, SCHEMA)


def batch(tools: list, plan: object = None) -> pa.RecordBatch:
    return pa.RecordBatch.from_pandas(frame(tools, plan).drop(columns="as_of"), preserve_index=False)


@pytest.fixture
def never_conformed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
        raise AssertionError(f"conform was asked for {schema.names}")

    monkeypatch.setattr(scoreinput, "conform", refused)
    monkeypatch.setattr(scoreinput, "frame_of", refused)


@pytest.mark.usefixtures("never_conformed")
def test_clean_record_batches_need_no_pandas_whatever_their_types():
    plain = batch(CLEAN)
    wanted = said(read_input(plain, SCHEMA).columns)
    assert wanted[0] == ("x", ["dbt", "jira"], True)
    other_kinds = [
        ("plan", pa.string()),
        ("plan", pa.large_string()),
        ("tools", pa.large_list(pa.large_string())),
        ("size", pa.int32()),
    ]
    for name, kind in other_kinds:
        place = plain.schema.get_field_index(name)
        column = plain.column(name)
        column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        other = plain.set_column(place, name, column.cast(kind))
        assert said(read_input(other, SCHEMA).columns) == wanted, kind
    found = read_input(plain.slice(1, 3), SCHEMA)
    assert said(found.columns) == wanted[1:]
    assert found.ids.to_pylist() == ["a1", "a2", "a3"]
    assert found.columns.numbers["size"].tolist() == [1.0, 2.0, 3.0]
    assert found.lists["tools"].to_pylist() == CLEAN[1:]
    assert np.isnat(found.as_of).all()


@pytest.mark.usefixtures("never_conformed")
def test_an_absent_column_is_unknown_throughout():
    for name, unknown in (("plan", "plan"), ("tools", "tools"), ("size", "size")):
        found = read_input(batch(CLEAN).drop_columns([name]), SCHEMA)
        assert found.frame([unknown])[unknown].isna().all()


def test_only_columns_that_need_it_are_conformed(monkeypatch):
    seen: list[tuple[str, ...]] = []

    def watched(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
        seen.append(schema.names)
        return conform(table, schema)

    monkeypatch.setattr(scoreinput, "conform", watched)
    dirty = batch(CLEAN)
    dirty = dirty.set_column(3, "size", pa.array(["1.5", None, "2", " 3 "]))
    found = read_input(dirty, SCHEMA)
    assert [tuple(names) for names in seen] == [("size",)]
    np.testing.assert_array_equal(found.columns.numbers["size"], [1.5, np.nan, 2.0, 3.0])
    assert said(found.columns) == said(read_input(batch(CLEAN), SCHEMA).columns)


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        ({"size": pa.array(["1", "two", "3", "4"])}, "found 1 of 4 that are not: 'two' in accounts a1"),
        ({"account_id": pa.array(["a", None, "c", "d"])}, "found 1 of 4 empty"),
    ],
)
def test_what_can_not_be_read_is_named_with_its_accounts(broken, match):
    whole = batch(CLEAN)
    for name, column in broken.items():
        whole = whole.set_column(whole.schema.get_field_index(name), name, column)
    with pytest.raises(InputMismatchError, match=match):
        read_input(whole, SCHEMA)


def test_a_batch_without_any_feature_is_refused():
    with pytest.raises(InputMismatchError, match="found none of them"):
        read_input(batch(CLEAN).select(["account_id"]), SCHEMA)


def test_a_parent_code_is_read_from_its_code_even_if_that_is_clean():
    schema = Schema(
        (Feature("naics", "category"), Feature("naics_4", "category"), Feature("size", "numeric"))
    )
    codes = pd.DataFrame(
        {"account_id": ["a", "b", "c"], "naics": ["541511", "5415", "62"], "size": ["1", "2", "3"]}
    )
    for features in (codes, pa.RecordBatch.from_pandas(codes, preserve_index=False)):
        found = read_input(features, schema).frame(["naics", "naics_4"])
        assert found["naics"].tolist() == ["541511", "5415", "62"]
        assert found["naics_4"].astype(object).where(found["naics_4"].notna(), None).tolist() == [
            "5415",
            "5415",
            None,
        ]
