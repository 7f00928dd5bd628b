from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icp_ml.data.technologies import LIST_DTYPE, flatten, list_sizes, sniff_delimiter, to_lists, tool_lists


def plain(column: pd.Series) -> list[list[str] | None]:
    return [None if missing else list(cell) for cell, missing in zip(column, column.isna(), strict=True)]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([["b", "a"], [], None]),
        pd.Series([("b", "a"), (), None]),
        pd.Series([{"b", "a"}, set(), None]),
        pd.Series([np.array(["b", "a"]), np.array([]), None]),
        pd.Series([["b", "a"], [], None], dtype=LIST_DTYPE),
        pd.Series([["b", "a"], [], None], dtype=pd.ArrowDtype(pa.large_list(pa.large_string()))),
        pd.Series([[" b", "a ", "B", "", None], [], float("nan")]),
    ],
)
def test_lists_of_every_sort_become_sorted_distinct_lists(column: pd.Series) -> None:
    found = to_lists(column)
    assert found.dtype == LIST_DTYPE
    expected = ["a", "B"] if "B" in column[0] else ["a", "b"]
    assert plain(found) == [expected, [], None]
    assert list_sizes(found)[:2].tolist() == [2.0, 0.0]
    assert np.isnan(list_sizes(found)[2])


@pytest.mark.parametrize(
    ("texts", "mark"),
    [
        (["Slack; Jira", "Zoom"], ";"),
        (["Slack|Jira", None], "|"),
        (["['Slack', 'Jira']"], ","),
        (["Slack"], ";"),
    ],
)
def test_delimited_text(texts: list[str], mark: str) -> None:
    column = pd.Series(texts, dtype=object)
    assert sniff_delimiter(column) == mark
    found = plain(to_lists(column, mark))
    assert found[0] == (["Slack"] if texts == ["Slack"] else ["Jira", "Slack"])


def test_empty_text_is_an_unknown_stack_and_lists_may_stand_beside_text() -> None:
    column = pd.Series(["", "n/a", "A;B", ["C"], None], dtype=object)
    assert plain(to_lists(column, ";")) == [None, None, ["A", "B"], ["C"], None]


def test_aliases_are_compared_without_case() -> None:
    rows = np.array([0, 0, 1])
    found = tool_lists(
        rows,
        rows * 0 + [0, 1, 2],
        ["MS Teams", "Teams", "teams"],
        np.array([True, True]),
        {"ms teams": "Teams"},
    )
    assert plain(found) == [["Teams"], ["teams"]]


def test_spellings_differ_by_account_but_not_within() -> None:
    column = pd.Series([["slack", "Slack", "SLACK"], ["slack"]])
    assert plain(to_lists(column)) == [["SLACK"], ["slack"]]


@given(st.lists(st.none() | st.lists(st.sampled_from(["a", "A", "b", " c", "é"]), max_size=5), max_size=8))
def test_each_row_is_read_on_its_own(cells: list[list[str] | None]) -> None:
    whole = plain(to_lists(pd.Series(cells, dtype=object)))
    single = [plain(to_lists(pd.Series([cell], dtype=object)))[0] for cell in cells]
    assert whole == single
    again = plain(to_lists(to_lists(pd.Series(cells, dtype=object))))
    assert again == whole


def test_flatten_of_a_chunked_column_counts_rows_through() -> None:
    chunks = pa.chunked_array([[["a"], None], [["b", "c"]]], type=pa.list_(pa.string()))
    rows, tools, known = flatten(pd.Series(pd.arrays.ArrowExtensionArray(chunks)))
    assert rows.tolist() == [0, 2, 2]
    assert tools.tolist() == ["a", "b", "c"]
    assert known.tolist() == [True, False, True]
