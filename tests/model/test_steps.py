"""Step models: what they say is the same alone and in a crowd."""

from __future__ import annotations

import numpy as np

from icp_ml.model.steps import StepModel, tables_of


def test_a_column_that_matters_only_where_it_is_unknown_is_the_same_in_a_crowd():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 2))
    X[rng.random(4000) < 0.4, 1] = np.nan
    model = StepModel(np.array([1]), np.array([np.nan]), np.array([-2.0]), np.array([0.4]), 0.5)
    tables = tables_of((model,), 2)
    np.testing.assert_array_equal(tables.raw(X)[:50], tables.raw(X[:50]))
    np.testing.assert_allclose(np.unique(tables.raw(X)), [0.5 - 2.0 * 0.6, 0.5 + 2.0 * 0.4])


def test_steps_of_a_bag_are_added_up_per_column():
    columns, thresholds = np.array([0, 0, 1]), np.array([1.0, 2.0, 0.0])
    one = StepModel(columns, thresholds, np.array([1.0, -1.0, 0.5]), np.array([0.6, 0.2, 0.5]), 0.0)
    two = StepModel(columns[:1], np.array([1.5]), np.array([2.0]), np.array([0.25]), 1.0)
    raw = tables_of((one, two), 2).raw_bags(np.array([[0.0, -1.0], [1.6, 1.0], [3.0, np.nan], [1.0, 0.0]]))
    np.testing.assert_allclose(raw[0], [-0.65, 0.85, -0.4, -0.65])
    np.testing.assert_allclose(raw[1], [0.5, 2.5, 2.5, 0.5])
