"""The door for parameters: what comes back is plain, what doesn't fit is refused by name."""

from __future__ import annotations

import re

import numpy as np
import pytest

from icp_ml import parameters
from icp_ml.data.span import LEAST, MOST, within_span
from icp_ml.errors import ConfigError, IcpError, ParameterError


@pytest.mark.parametrize(
    "value", [-1, "7", 2**70, True, np.True_, 1.5, None, np.float64(3), float("nan"), [1]]
)
def test_a_seed_that_is_none_is_refused_with_what_was_found(value: object) -> None:
    with pytest.raises(ParameterError, match=r"expected seed to be a whole number from 0 to") as caught:
        parameters.seed(value)
    assert type(value).__name__ in str(caught.value)
    assert caught.value.parameter == "seed"
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [0, 7, np.int64(7), np.int8(7), np.uint64(7), 2**32 - 1])
def test_numbers_of_numpy_are_seeds_and_come_back_plain(value: int) -> None:
    assert parameters.seed(value) == int(value)
    assert type(parameters.seed(value)) is int


@pytest.mark.parametrize("value", [0, -2, 10**9, "2", 1.5, True, float("nan")])
def test_threads_out_of_range_are_refused(value: object) -> None:
    with pytest.raises(ParameterError, match="n_jobs"):
        parameters.jobs(value)


def test_all_cores_are_asked_for_in_two_ways() -> None:
    assert (parameters.jobs(None), parameters.jobs(-1), parameters.jobs(np.int64(2))) == (None, None, 2)


@pytest.mark.parametrize("value", [0, 1, 1.5, -0.1, float("nan"), float("inf"), "0.1", None, True])
def test_a_share_lies_inside(value: object) -> None:
    with pytest.raises(ParameterError, match="expected q to be a number between 0 and 1"):
        parameters.number("q", value, 0, 1, inside=True)


@pytest.mark.parametrize("value", [(1.25, 0.8), (float("nan"), 1.0), (-1, 1), 1, "ab", (0.8,), None])
def test_two_ends_rise(value: object) -> None:
    with pytest.raises(ParameterError, match="slope"):
        parameters.interval("slope", value, 0.0, 10.0)


@pytest.mark.parametrize("value", ["abc", b"abc", 1, None, [1], ["a", None]])
def test_one_text_is_no_list_of_texts(value: object) -> None:
    with pytest.raises(ParameterError, match="rising"):
        parameters.texts("rising", value)


@pytest.mark.parametrize(
    "value",
    [[1e308, 1.0], [1e-320, 1.0], [-1.0, 1.0], [0.0, 0.0], [1.0], ["a", "b"], [np.nan, 1.0], 1.0, None],
)
def test_weights_that_cannot_be_summed_are_refused(value: object) -> None:
    with pytest.raises(IcpError, match="sample_weight"):
        parameters.weights("sample_weight", value, 2)


def test_a_long_value_is_not_quoted_whole() -> None:
    with pytest.raises(ParameterError) as caught:
        parameters.choice("mode", "x" * 10_000, ["a"])
    assert len(str(caught.value)) < 200
    assert not re.search("x{100}", str(caught.value))


def test_ordinary_numbers_are_the_same_array() -> None:
    values = np.array([0.0, -0.0, 1.0, -1e100, 1e-100, np.nan, MOST, -MOST, LEAST])
    assert within_span(values) is values


def test_a_number_too_long_to_be_written_is_refused_all_the_same() -> None:
    for value in (10**10_000, -(10**10_000)):
        with pytest.raises(ParameterError, match=r"one of 33,\d{3} bits"):
            parameters.seed(value)
        with pytest.raises(ParameterError, match="bits"):
            parameters.number("q", value, 0, 1)


def test_numbers_that_cannot_be_squared_lie_at_the_ends() -> None:
    found = within_span(np.array([1e308, -1e308, 5e-324, -1e-200, np.inf, -np.inf, 2.0]))
    np.testing.assert_array_equal(found, [MOST, -MOST, 0.0, 0.0, np.nan, np.nan, 2.0])
    assert np.isfinite(np.nansum(found**2))
