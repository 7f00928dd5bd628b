"""Which accounts are unlike the customers: false flags, shifts, reasons, and independence of the batch."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import icp_ml as icp
from icp_ml.data.conform import conform
from icp_ml.data.dataset import Dataset
from icp_ml.data.schema import Feature, Schema
from icp_ml.errors import NotEnoughDataError
from icp_ml.model.columns import read_columns
from icp_ml.serve.factors import Factors
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.margins import NumberMargin, fit_tail, normal_scores, surprise_of_scores, tail_chances
from icp_ml.serve.ranking import Ranking
from icp_ml.serve.reference import applicability_of
from icp_ml.serve.training import train
from icp_ml.serve.typicality import EDGE, Typicality, fit_typicality
from icp_ml.simulation import make_frame, make_prospects

from .conftest import as_dataset, labelled_frame

SIMULATED = make_frame(600, seed=10_100)


def simulated_dataset() -> Dataset:
    return Dataset.from_frame(
        SIMULATED.frame,
        account_id="account_id",
        labels={"retained": "retained"},
        technologies=["technologies"],
        drop=["expanded", "churned_first_year"],
    )


DATASET = simulated_dataset()
TYPICALITY = fit_typicality(read_columns(DATASET.features, DATASET.schema), DATASET.groups)


def percentiles(frame: pd.DataFrame) -> np.ndarray:
    return TYPICALITY.percentile(read_columns(conform(frame, DATASET.schema), DATASET.schema))


PROSPECTS = make_prospects(SIMULATED.truth, 400, seed=10_101, shift=0.6)
WHOLE = percentiles(PROSPECTS)


def test_fresh_customers_are_rarely_flagged_and_shifted_prospects_mostly() -> None:
    customers = percentiles(make_prospects(SIMULATED.truth, 2000, seed=10_102, shift=0.0))
    shifted = percentiles(make_prospects(SIMULATED.truth, 2000, seed=10_103, shift=1.0))
    assert (customers >= EDGE).mean() <= 0.05
    assert (shifted >= EDGE).mean() >= 0.88


@pytest.mark.parametrize("shift", ["larger", "country", "tools", "unknown", "broken link"])
def test_other_kinds_of_shift_are_seen(shift: str) -> None:
    rng = np.random.default_rng(0)
    rows = make_prospects(SIMULATED.truth, 800, seed=10_104, shift=0.0)
    if shift == "larger":
        for name in ("employees", "revenue_musd", "sites", "it_spend_kusd"):
            rows[name] *= 100.0
    elif shift == "country":
        rows["region"] = "Atlantis"
    elif shift == "tools":
        rows["technologies"] = [["Tool nobody had"]] * len(rows)
    elif shift == "unknown":
        for name in rows.columns[1:]:
            rows[name] = rows[name].mask(rng.random(len(rows)) < 0.6)
    else:
        rows["employees"] = np.round(np.exp(rng.normal(8.5, 0.3, len(rows))))
        rows["revenue_musd"] = 5.0
    assert (percentiles(rows) >= EDGE).mean() >= 0.9


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 399), min_size=1, max_size=60), st.randoms())
def test_a_row_does_not_depend_on_its_batch(rows: list[int], order: object) -> None:
    names = [str(name) for name in PROSPECTS.columns]
    order.shuffle(names)  # type: ignore[attr-defined]
    assert percentiles(PROSPECTS.iloc[rows][names]).tolist() == WHOLE[rows].tolist()


def test_blocks_of_rows_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icp_ml.serve.typicality.BLOCK", 7)
    assert percentiles(PROSPECTS).tolist() == WHOLE.tolist()


def test_tables_say_what_fields_and_factors_say_one_by_one() -> None:
    strangers = PROSPECTS.copy()
    strangers.loc[:9, "region"] = "Atlantis"
    strangers.loc[5:14, "technologies"] = pd.Series([["Tool nobody had"]] * 10, index=range(5, 15))
    strangers.loc[20:29, "technologies"] = None
    detector = TYPICALITY.detector
    columns = read_columns(conform(strangers, DATASET.schema), DATASET.schema)
    tally, said = detector.tables.tally(columns, detector.scored(columns)), detector.surprises(columns)
    fields = np.array(list(said.fields.values()))
    np.testing.assert_array_equal(tally.most, np.nanmax(fields, axis=0, initial=0.0))
    np.testing.assert_allclose(tally.total, np.nansum(fields, axis=0), rtol=1e-12)
    np.testing.assert_array_equal(tally.count, np.isfinite(fields).sum(axis=0))
    np.testing.assert_array_equal(tally.new, np.max(list(said.new.values()), axis=0))
    along, off = detector.factors.measure(detector.coordinates(columns))
    np.testing.assert_allclose(tally.along, along, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(tally.off, off, rtol=1e-9, atol=1e-9)
    shares = np.array([[1.0 - detector.known[name], detector.known[name]] for name in said.missing])
    unknown = [
        -np.log(np.where(gone, *share)) for gone, share in zip(said.missing.values(), shares, strict=True)
    ]
    np.testing.assert_allclose(tally.unknown, np.sum(unknown, axis=0), rtol=1e-12)


def test_many_new_tools_say_no_more_than_three() -> None:
    rows = PROSPECTS.head(4).copy()
    rows["technologies"] = pd.Series([[f"New tool {i}" for i in range(n)] for n in (1, 2, 3, 20)])
    detector = TYPICALITY.detector
    columns = read_columns(conform(rows, DATASET.schema), DATASET.schema)
    one, two, three, twenty = detector.tables.tally(columns, detector.scored(columns)).new
    assert one < two < three == twenty


def test_flags_of_the_training_accounts_are_standardised() -> None:
    columns = read_columns(DATASET.features, DATASET.schema)
    detector = TYPICALITY.detector
    flags = detector.coordinates(columns)[:, len(detector.numbers) :]
    np.testing.assert_allclose(np.nanmean(flags, axis=0), 0.0, atol=0.1)
    np.testing.assert_allclose(np.nanstd(flags, axis=0), 1.0, atol=0.15)


def test_the_state_is_json_and_gives_the_same_bits() -> None:
    state = json.loads(json.dumps(TYPICALITY.to_state(), allow_nan=False))
    again = Typicality.from_state(state)
    columns = read_columns(conform(PROSPECTS, DATASET.schema), DATASET.schema)
    assert again.percentile(columns).tolist() == WHOLE.tolist()


def test_false_flags_of_a_small_narrow_base() -> None:
    base = as_dataset(labelled_frame(120, seed=5))
    typicality = fit_typicality(read_columns(base.features, base.schema), base.groups)
    fresh = as_dataset(labelled_frame(3000, seed=6))
    percentile = typicality.percentile(read_columns(fresh.features, fresh.schema))
    assert (percentile >= EDGE).mean() <= 0.06


def test_a_row_of_which_nothing_is_known_is_out() -> None:
    schema = Schema((Feature("size", "numeric"), Feature("kind", "category")))
    base = pd.DataFrame({"size": np.arange(100.0), "kind": ["a", None] * 50})
    base.loc[::2, "size"] = np.nan
    typicality = fit_typicality(read_columns(base, schema), np.arange(100))
    rows = pd.DataFrame({"size": [50.0, np.nan], "kind": ["a", None]})
    assert applicability_of(typicality.percentile(read_columns(rows, schema))).tolist() == ["in", "out"]


def test_a_column_of_one_value_and_an_empty_one_do_no_harm() -> None:
    names = ("same", "none", "spread")
    schema = Schema(tuple(Feature(name, "numeric") for name in names))
    rng = np.random.default_rng(1)
    base = pd.DataFrame({"same": 1.0, "none": np.nan, "spread": rng.normal(size=200)})
    typicality = fit_typicality(read_columns(base, schema), np.arange(200))
    rows = pd.DataFrame({"same": [1.0, 9.0], "none": [np.nan, np.nan], "spread": [0.0, 0.0]})
    assert applicability_of(typicality.percentile(read_columns(rows, schema)))[0] == "in"
    assert typicality.percentile(read_columns(rows, schema))[1] > 90.0


def test_a_tail_extrapolates_by_the_shape_of_the_column() -> None:
    rng = np.random.default_rng(2)
    thin = NumberMargin.fit(rng.normal(size=2000))
    heavy = NumberMargin.fit(rng.pareto(1.1, size=2000))
    assert thin is not None
    assert heavy is not None
    beyond_thin = surprise_of_scores(normal_scores([thin], [np.array([8.0])])[0])[0]
    beyond_heavy = surprise_of_scores(normal_scores([heavy], [np.array([8.0])])[0])[0]
    assert beyond_thin > 7.5
    assert beyond_heavy < 4.0
    ordered = normal_scores([heavy], [np.linspace(-5.0, 1e6, 500)])[0]
    assert (np.diff(ordered) >= 0).all()


def test_kernel_and_numpy_give_the_same_normal_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    samples = [
        rng.normal(size=900),
        rng.integers(0, 3, 900).astype(float),
        np.ones(900),
        rng.pareto(1.0, 900),
    ]
    fitted = [NumberMargin.fit(sample) for sample in samples]
    margins = [margin for margin in fitted if margin is not None]
    values = [
        np.concatenate([margin.knots, sample[:99], [np.nan, 1e9, -1e9, 0.5]])
        for margin, sample in zip(margins, samples, strict=True)
    ]
    values = [np.resize(own, 150) for own in values]
    by_numpy = normal_scores(margins, values)
    for scores, margin, own in zip(by_numpy, margins, values, strict=True):
        middle = (own > -margin.lower.at) & (own < margin.upper.at)
        np.testing.assert_allclose(
            scores[middle], np.interp(own, margin.knots, margin.scores)[middle], atol=1e-12
        )
        np.testing.assert_array_equal(np.isnan(scores), np.isnan(own))
    monkeypatch.setattr("icp_ml.model.contributions.KERNEL_ROWS", 1)
    np.testing.assert_array_equal(normal_scores(margins, values), by_numpy)


def test_no_account_beyond_the_threshold_gives_a_rare_tail() -> None:
    tail = fit_tail(np.array([]), 3.0, 99, 1.0)
    assert tail_chances(np.array([0.0]), tail.share, tail.scale, tail.shape)[0] == pytest.approx(0.005)


def test_a_ranking_goes_on_beyond_its_sample() -> None:
    ranking = Ranking.fit(np.arange(1000.0))
    at = ranking.surprise(np.array([-5.0, 500.0, 999.0, 1100.0, 2000.0]))
    assert (np.diff(at) > 0).all()
    assert at[1] == pytest.approx(-np.log(0.5), abs=0.01)
    assert at[2] == pytest.approx(-np.log(1.5 / 1001), abs=0.3)


def test_factors_read_a_common_size_from_what_is_known() -> None:
    rng = np.random.default_rng(3)
    size = rng.normal(size=800)
    z = 0.9 * size[:, None] + np.sqrt(1 - 0.81) * rng.normal(size=(800, 5))
    z = np.column_stack([z, rng.normal(size=(800, 3))])
    factors = Factors.fit(z)
    assert factors.loadings.shape[1] == 1
    tall = np.full((1, 8), 3.0)
    partly = tall.copy()
    partly[0, 1:4] = np.nan
    broken = np.array([[3.0, -3.0, 3.0, -3.0, 0.0, 0.0, 0.0, 0.0]])
    along, off = factors.measure(np.vstack([tall, partly, broken, np.zeros((1, 8))]))
    assert along[0] > along[1] > 10 * along[2]
    assert off[2] > 50 > off[0]


def test_public_frame_says_why(model: IcpModel, fresh: pd.DataFrame) -> None:
    rows = fresh.head(4).copy().reset_index(drop=True)
    rows.loc[0, "seats"] = 1e9
    rows.loc[1, "industry"] = "Mining"
    rows.at[2, "stack"] = ["Abacus", "Slide rule"]
    told = icp.applicability(model, rows)
    assert list(told.columns) == ["account_id", "as_of", "applicability", "atypicality", "why"]
    assert told["applicability"][0] in {"edge", "out"}
    assert "seats 1e+09 (most customers" in told["why"][0]
    assert "industry 'Mining', which no customer has" in told["why"][1]
    assert "stack hold 'abacus' and 1 more, which no customer uses" in told["why"][2]
    assert told["applicability"][3] == "in"
    assert told["why"][3] is None
    assert told["why"].dropna().str.count(";").max() <= 2


def test_scores_carry_the_same_answer(model: IcpModel, fresh: pd.DataFrame) -> None:
    rows = fresh.copy()
    rows.loc[rows.index[::3], "seats"] = 1e9
    told = icp.applicability(model, rows)
    assert told["applicability"].tolist() == model.score(rows, reasons=0)["applicability"].tolist()
    assert told["applicability"].ne("in").mean() > 0.3


def test_several_snapshots_count_as_one_account() -> None:
    frame = labelled_frame(200, seed=8)
    frames = [frame.assign(day=day) for day in ("2024-03-31", "2024-06-30", "2024-09-30")]
    frames[2]["seats"] *= 2
    dataset = Dataset.from_frame(
        pd.concat(frames, ignore_index=True),
        account_id="customer",
        labels={"retained": "renewed"},
        snapshot_date="day",
        horizon_months=3,
        technologies=["stack"],
        drop=["grown"],
    )
    typicality = train(dataset, seed=1, profile=False).reference.typicality
    assert typicality.n_accounts == 200
    # The five largest are told by their mean; the older snapshots had half of it.
    expected = frames[2]["seats"].quantile(0.99)
    assert typicality.detector.numbers["seats"].high == pytest.approx(expected, rel=0.2)


def test_shift_is_none_among_customers_and_plain_among_strangers(model: IcpModel) -> None:
    same = icp.shift(model, labelled_frame(400, seed=20).drop(columns=["renewed", "grown"]))
    assert same.auc_low < same.auc_floor
    assert same.flagged < 0.06
    assert (same.fields["distance"] <= same.fields["floor"]).all()
    assert "not distinguishable from luck" in same.to_text()
    far = labelled_frame(400, seed=21).drop(columns=["renewed", "grown"])
    far["seats"] *= 50.0
    there = icp.shift(model, far)
    assert there.auc_low > there.auc_floor
    assert there.auc_low <= there.auc <= there.auc_high
    assert there.flagged_low <= there.flagged <= there.flagged_high
    assert there.fields["feature"][0] == "seats"
    assert there.fields["distance"][0] > there.fields["floor"][0]
    assert "seats" in there.to_text()


def test_shift_wants_a_list(model: IcpModel, fresh: pd.DataFrame) -> None:
    with pytest.raises(NotEnoughDataError, match="at least 2 prospects"):
        icp.shift(model, fresh.head(1))
