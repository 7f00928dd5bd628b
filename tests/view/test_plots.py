"""Plots return Axes with the right labels and data, and say so when matplotlib is missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from icp_ml.errors import ConfigError, MissingDependencyError, NotEnoughDataError
from icp_ml.view.keep import files_beside_model
from icp_ml.view.plots import plot_calibration, plot_lift, plot_traits

from .samples import evaluation, model, profile, rejects, traits


def labels(axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_traits_are_sorted_by_lift_with_outcome_and_n():
    axes = plot_traits(profile())

    assert labels(axes)[0] == "technologies has Legacy ERP (retention, n=212)"
    assert len(labels(axes)) == 3
    assert axes.get_xlabel() == "lift against the base rate, percentage points"
    dots = axes.collections[-1].get_offsets()
    np.testing.assert_allclose(dots[:, 0], [-14.0, 9.0, 9.0])


def test_traits_of_one_outcome_and_at_most_so_many():
    assert len(labels(plot_traits(profile(), target="retained"))) == 2
    assert labels(plot_traits(profile(), most=1)) == ["technologies has Legacy ERP (retention, n=212)"]


def test_no_accepted_trait_is_an_error_not_an_empty_picture():
    with pytest.raises(NotEnoughDataError, match="found none"):
        plot_traits(profile(traits=traits().query("kind == 'not_enough_evidence'")))


def test_calibration_draws_predicted_against_realised():
    axes = plot_calibration(evaluation())

    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted probability", "share that stayed")
    dots = axes.collections[-1].get_offsets()
    np.testing.assert_allclose(dots[0], [0.97, 0.98])


def test_lift_draws_ten_bars_around_one():
    axes = plot_lift(evaluation())

    assert axes.get_ylabel() == "rate as a multiple of the base rate"
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], evaluation().deciles["lift"])
    assert axes.lines[0].get_ydata()[0] == 1.0


def test_an_unknown_target_names_the_known_ones():
    with pytest.raises(ConfigError, match="retained"):
        plot_lift(evaluation(), target="expanded")


def test_given_axes_are_drawn_on():
    first = plot_lift(evaluation())

    assert plot_calibration(evaluation(), ax=first) is first


def test_pyplot_and_its_global_state_stay_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)

    assert plot_lift(evaluation()).figure is not None


def test_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(MissingDependencyError, match=r"icp-ml\[report\]"):
        plot_lift(evaluation())


def test_kept_files_are_report_and_figures_and_repeat_byte_for_byte():
    first, second = (files_beside_model(rejects())(model(), evaluation()) for _ in range(2))

    assert sorted(first) == ["calibration_retained.png", "icp_report.html", "lift_retained.png", "traits.png"]
    assert first == second
    assert first["traits.png"].startswith(b"\x89PNG")


def test_kept_files_without_matplotlib_are_the_report(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    assert list(files_beside_model()(model(), evaluation())) == ["icp_report.html"]
