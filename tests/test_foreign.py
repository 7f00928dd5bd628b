"""What strangers write is read checked: types, lengths, ranges, sizes; every failure names file and field."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icp_ml.errors import BundleError, ConfigError
from icp_ml.foreign import Given
from icp_ml.strictjson import MOST_DEPTH, depth, read_json

BIG = 10**30


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"a": 1}, lambda given: given.record("a", "b")),
        ({"a": 1, "c": 2}, lambda given: given.record("a")),
        ([], lambda given: given.record()),
        ([], lambda given: given.entries()),
        ({"a": 1}, lambda given: given.entries(least=2)),
        ({}, lambda given: given.each()),
        ([1, 2], lambda given: given.each(most=1)),
        ("", lambda given: given.text(least=1)),
        (7, lambda given: given.text()),
        ("b", lambda given: given.choice(["a"])),
        (["a"], lambda given: given.choice(["a"])),
        (1, lambda given: given.flag()),
        (True, lambda given: given.whole()),
        (1.0, lambda given: given.whole()),
        (-1, lambda given: given.whole()),
        (BIG, lambda given: given.whole()),
        ("1", lambda given: given.number()),
        (True, lambda given: given.number()),
        (math.nan, lambda given: given.number()),
        (math.inf, lambda given: given.number()),
        (10**400, lambda given: given.number()),
        (0.0, lambda given: given.number(above=0.0)),
        (["a", "a"], lambda given: given.texts(distinct=True)),
        (["a", 1], lambda given: given.texts()),
        (["1"], lambda given: given.numbers()),
        ([True], lambda given: given.numbers()),
        ([None], lambda given: given.numbers()),
        ([[1.0]], lambda given: given.numbers()),
        ([math.nan], lambda given: given.numbers(gaps=True)),
        ([10**400], lambda given: given.numbers()),
        ([1.0, 2.0], lambda given: given.numbers(length=3)),
        ([1.0, 1.0], lambda given: given.numbers(rising=True)),
        ([2.0], lambda given: given.numbers(high=1.0)),
        ([1.5], lambda given: given.wholes()),
        ([True], lambda given: given.wholes()),
        ([-1], lambda given: given.wholes()),
        ([7], lambda given: given.wholes(high=6)),
        ([BIG], lambda given: given.wholes()),
        ({"a": [math.inf]}, lambda given: given.plain()),
        ({"a": [2**70]}, lambda given: given.plain()),
    ],
)
def test_whatever_is_not_as_promised_is_refused_by_name(value: Any, read: Any) -> None:
    with pytest.raises(BundleError, match=r"^model\.json: field") as caught:
        read(Given(value, "field", "model.json"))
    assert caught.value.file == "model.json"
    assert str(caught.value.field).startswith("field")
    assert "expected" in str(caught.value)
    assert "found" in str(caught.value)


def test_what_is_as_promised_is_returned() -> None:
    state = Given({"n": 3, "x": 2, "list": [1, 2.5, None], "on": True, "names": ["a", "b"]})
    assert state["n"].whole(high=3) == 3
    assert isinstance(state["x"].number(), float)
    np.testing.assert_array_equal(state["list"].numbers(gaps=True), [1.0, 2.5, np.nan])
    assert state["on"].flag()
    assert state["names"].texts(distinct=True) == ("a", "b")
    assert state.get("absent") is None


def test_a_setting_that_is_wrong_is_no_fault_of_a_bundle() -> None:
    with pytest.raises(ConfigError, match="correct it"):
        Given("x", "value", error=ConfigError).whole()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'{"a": 1, "a": 2}', "'a' twice"),
        (b'{"a": {"b": 1, "b": 2}}', "'b' twice"),
        (b"NaN", "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"9" * 5_000, "thousands of digits"),
        (b"[" * 100_000 + b"]" * 100_000, "100,000 within each other"),
        (b'{"a":' * 100_000, "100,000 within each other"),
        (b"\xff\xfe{}", "start byte"),
        ('{"a": 1}'.encode("utf-16"), "start byte"),
        (b'"\\ud800"', "surrogate"),
        (b'{"a": 1', "something else"),
        (b"", "something else"),
        (b"[1] [2]", "something else"),
        (b"\xef\xbb\xbf{}", "something else"),
    ],
)
def test_json_of_strangers_is_bounded(data: bytes, found: str) -> None:
    with pytest.raises(BundleError, match=r"^part\.json: expected") as caught:
        read_json(data, "part.json")
    assert found in str(caught.value)


def test_json_larger_than_any_model_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icp_ml.strictjson.MOST_BYTES", 10)
    with pytest.raises(BundleError, match="at most 10 bytes, found 12"):
        read_json(b'"0123456789"')
    monkeypatch.setattr("icp_ml.strictjson.MOST_PARTS", 2)
    with pytest.raises(BundleError, match="at most 2 objects and lists, found 3"):
        read_json(b"[[],[]]")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text('[]{}"\\ae\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def levels(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(levels, inner), default=0)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(JSON, st.booleans())
def test_depth_is_counted_as_json_nests(value: Any, ascii_only: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert depth(data) == levels(value)
    assert read_json(data) == value


def test_the_deepest_that_is_allowed_is_read() -> None:
    text = b"[" * MOST_DEPTH + b"]" * MOST_DEPTH
    assert levels(read_json(text)) == MOST_DEPTH
    with pytest.raises(BundleError, match="levels"):
        read_json(b"[" + text + b"]")
