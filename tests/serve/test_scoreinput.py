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
