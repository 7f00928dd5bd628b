"""Pictures put the numbers where they belong, on one scale, and say in words what they show."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icp_ml.view.drawings import calibration_plot, decile_plot, interval_strip, strip_axis, strip_scale

NAN = float("nan")
shares = st.floats(-1.0, 1.0)


def numbers(picture: str, tag: str, name: str) -> list[float]:
    root = ElementTree.fromstring(picture)
    return [
        float(item.attrib[name]) for item in root.iter() if item.tag.endswith(tag) and name in item.attrib
    ]


def test_a_positive_lift_lies_right_of_the_base_rate_and_a_negative_one_left():
    scale = strip_scale([-0.2], [0.2])

    right = numbers(interval_strip(0.1, 0.05, 0.15, scale, css="must_have"), "circle", "cx")[0]
    left = numbers(interval_strip(-0.1, -0.15, -0.05, scale, css="hard_no"), "circle", "cx")[0]

    assert left < scale(0.0) < right
    assert right - scale(0.0) == pytest.approx(scale(0.0) - left, abs=0.11)


def test_strip_says_its_numbers_in_words():
    picture = interval_strip(0.1, 0.05, 0.15, strip_scale([0.05], [0.15]), css="must_have")

    assert "+10.0 points against the base rate, interval +5.0 to +15.0" in picture
    assert 'class="strip must_have"' in picture


def test_unknown_lift_draws_nothing_and_unknown_interval_draws_only_the_dot():
    scale = strip_scale([], [])

    assert interval_strip(NAN, NAN, NAN, scale, css="unknown") == ""
    assert 'class="range"' not in interval_strip(0.01, NAN, NAN, scale, css="unknown")


@given(st.lists(shares, max_size=5), st.lists(shares, max_size=5))
def test_every_interval_fits_the_scale(lows, highs):
    scale = strip_scale([*lows, NAN], [*highs, NAN])

    assert all(scale.low <= end <= scale.high for end in (*lows, *highs))
    assert scale.low == -scale.high


def test_axis_names_the_base_and_the_ends():
    axis = strip_axis(strip_scale([-0.13], [0.02]))

    assert re.findall(r">([^<>]+)</text>", axis) == ["−15", "−7.5", "base", "+7.5", "+15"]


def test_perfect_calibration_lies_on_the_diagonal():
    picture = calibration_plot([(share, share, NAN, NAN) for share in (0.2, 0.5, 0.9)])
    across, up = numbers(picture, "circle", "cx"), numbers(picture, "circle", "cy")

    slope = [(up[k + 1] - up[k]) / (across[k + 1] - across[k]) for k in range(2)]
    assert slope[0] == pytest.approx(slope[1], rel=0.01)
    assert up == sorted(up, reverse=True)


def test_calibration_passes_over_unknown_bins():
    picture = calibration_plot([(0.5, 0.6, 0.5, 0.7), (NAN, 0.6, 0.5, 0.7)])

    assert len(numbers(picture, "circle", "cx")) == 1
    assert calibration_plot([(NAN, NAN, NAN, NAN)]) == ""


def test_decile_bars_are_as_high_as_the_rates():
    picture = decile_plot([0.8, 0.4, NAN, 0.0], 0.4, outcome="stayed")
    heights = numbers(picture, "rect", "height")

    assert heights[0] == pytest.approx(2 * heights[1], abs=0.11)
    assert len(heights) == 3
    assert heights[2] == 0.0
    assert "share that stayed" in picture


def test_decile_plot_of_nothing_is_nothing():
    assert decile_plot([NAN, NAN], 0.5, outcome="stayed") == ""


def test_outcome_text_is_escaped():
    assert "<b>" not in decile_plot([0.5], 0.5, outcome="<b>")
