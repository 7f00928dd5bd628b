"""Negative controls: the outcomes hold nothing, keep what they must keep, and the counts are said."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import icp_ml as icp
from icp_ml.cli import using
from icp_ml.data.dataset import Dataset
from icp_ml.errors import ConfigError
from icp_ml.insight.building import build_profile
from icp_ml.insight.controls import ALARM, SENTENCE, Controls, coin, exchanged
from icp_ml.insight.wording import forbidden_words
from icp_ml.simulation import make_frame
from icp_ml.simulation.ageing import make_ageing
from icp_ml.view.report import render_report
from tests.insight.conftest import as_dataset
from tests.view import samples


@pytest.fixture(scope="module")
def repeated() -> Dataset:
    return as_dataset(make_frame(150, seed=30_400, signal="strong", snapshots=4), ("retained", "expanded"))


@pytest.fixture(scope="module")
def leaving() -> Dataset:
    """Accounts that leave: their rows end, and the last ones before see it coming."""
    base = make_ageing(200, seed=30_403, snapshots=12, churn=0.3).frame
    return Dataset.from_frame(
        base[["account_id", "snapshot_date", "customer_since", "number_0", "flag_2", "retained"]],
        account_id="account_id",
        labels={"retained": "retained"},
        snapshot_date="snapshot_date",
        customer_since="customer_since",
        horizon_months=12,
    )


def test_outcomes_are_exchanged_within_a_day(repeated: Dataset) -> None:
    other = exchanged(repeated, 1)
    assert other.features is repeated.features
    assert not other.labels["retained"].equals(repeated.labels["retained"])
    for target in ("retained", "expanded"):
        counts = [set_.labels.groupby("snapshot_date")[target].sum() for set_ in (other, repeated)]
        pd.testing.assert_series_equal(*counts)


@pytest.mark.parametrize("control", [exchanged, coin])
def test_who_leaves_has_no_later_rows_and_is_seen_to_leave_before(leaving: Dataset, control: Any) -> None:
    other = control(leaving, 2).labels
    other = other.assign(month=other["snapshot_date"].to_numpy().astype("datetime64[M]").astype(int))
    known = other[other["retained"].notna()].sort_values(["account_id", "month"])
    assert len(known) < len(leaving)
    lost = 0
    for _, rows in known.groupby("account_id"):
        gone = ~rows["retained"].to_numpy(dtype=bool)
        if not gone.any():
            continue
        lost += 1
        # the last row, and all those within a year before it
        assert gone.tolist() == (rows["month"].iloc[-1] - rows["month"] < 12).tolist()
    assert lost > 10


def test_the_coin_is_tossed_for_accounts_that_never_left(leaving: Dataset) -> None:
    really = leaving.labels.groupby("account_id")["retained"].transform("min")
    tossed = coin(leaving, 3).labels["retained"]
    assert tossed[~really.astype(bool)].isna().all()
    assert 0.5 < tossed.mean() < 0.95


def test_without_a_horizon_the_coin_is_the_accounts_own_at_the_base_rate(repeated: Dataset) -> None:
    tossed = coin(repeated, 4)
    rate = float(repeated.labels["retained"].mean())
    assert tossed.labels["retained"].mean() == pytest.approx(rate, abs=0.1)
    assert coin(repeated, 4).labels.equals(tossed.labels)
    assert not coin(repeated, 5).labels["retained"].equals(tossed.labels["retained"])
    agree = (tossed.labels["retained"] == repeated.labels["retained"]).mean()
    assert agree == pytest.approx(rate**2 + (1 - rate) ** 2, abs=0.12)


def test_an_unknown_outcome_stays_unknown(repeated: Dataset) -> None:
    labels = repeated.labels.copy()
    labels.loc[:9, "retained"] = pd.NA
    dataset = Dataset(repeated.features, labels, repeated.schema, repeated.groups)
    assert coin(dataset, 1).labels["retained"].isna().tolist() == labels["retained"].isna().tolist()


def test_the_profile_finds_the_signal_and_the_controls_do_not() -> None:
    dataset = as_dataset(make_frame(500, seed=30_401, signal="strong", n_tools=40, n_nulls=6))
    real = build_profile(dataset, {}, seed=3, n_permutations=400)
    assert real.traits["kind"].isin(["icp", "anti_icp"]).sum() >= 2
    done: list[tuple[int, int]] = []
    found = icp.negative_controls(
        dataset, seed=3, n_runs=2, n_permutations=400, progress=lambda n, total: done.append((n, total))
    )
    assert list(found.runs.columns) == ["control", "run", "seed", "traits", "segments"]
    assert found.runs["control"].tolist() == ["exchanged"] * 2 + ["coin"] * 2
    assert done[-1] == (4, 4)
    assert ((found.runs["traits"] + found.runs["segments"]) > 0).sum() <= 1
    assert "of 2 profiles reported anything" in found.to_text()


def runs(traits: list[int]) -> Controls:
    table = pd.DataFrame({"control": "coin", "run": range(len(traits)), "seed": 0, "traits": traits})
    return Controls(table.assign(segments=0), 0.10)


def test_the_sentence_counts_and_warns() -> None:
    quiet = runs([0, 0, 0, 0, 1]).to_text()
    assert "1 of 5 profiles reported anything (1 trait and 0 segments in all)" in quiet
    assert "at most about 10% of such profiles" in quiet
    assert ALARM not in quiet
    loud = runs([3, 1, 2, 0, 1])
    assert ALARM in loud.to_text()
    assert loud.to_state()["sentences"] == loud.sentences()
    assert not forbidden_words(loud.to_text())
    assert not forbidden_words(SENTENCE)


def test_at_least_one_run_is_asked_for(repeated: Dataset) -> None:
    with pytest.raises(ConfigError, match="n_runs to be a whole number from 1"):
        icp.negative_controls(repeated, n_runs=0)


def test_groups_of_accounts_move_as_one() -> None:
    base = as_dataset(make_frame(120, seed=30_402))
    groups = np.array([f"g{i // 4}" for i in range(len(base))], dtype=object)
    dataset = Dataset(base.features, base.labels, base.schema, groups)
    other = exchanged(dataset, 7)
    outcomes = [
        sorted(set_.labels["retained"].to_numpy(dtype=float).reshape(-1, 4).sum(axis=1))
        for set_ in (dataset, other)
    ]
    assert outcomes[0] == outcomes[1]
    assert not other.labels["retained"].equals(dataset.labels["retained"])


def test_the_report_prints_them_when_given() -> None:
    controls = runs([0, 0])
    page = render_report(samples.model(), controls=controls)
    assert 'id="controls"' in page
    assert "0 of 2 profiles reported anything" in page
    assert 'id="controls"' not in render_report(samples.model())


def test_the_command_line_prints_them_when_asked(monkeypatch: pytest.MonkeyPatch, repeated: Dataset) -> None:
    asked = []

    def fake(dataset: Dataset, *, seed: int, progress: object) -> Controls:
        asked.append((dataset, seed))
        return runs([0, 0])

    profile = SimpleNamespace(to_text=lambda width: "the profile", to_state=lambda: {"traits": []})
    monkeypatch.setattr(using, "read_model", lambda *_: SimpleNamespace(profile=profile))
    monkeypatch.setattr(using, "read_config", lambda path: None if path is None else SimpleNamespace(seed=5))
    monkeypatch.setattr(using, "read_split", lambda *_: (None, None, repeated, None))
    monkeypatch.setattr("icp_ml.insight.controls.negative_controls", fake)
    runner = CliRunner()
    plain = runner.invoke(using.profile, [])
    without = runner.invoke(using.profile, ["--controls"])
    told = runner.invoke(using.profile, ["--config", __file__, "--controls"])
    state = runner.invoke(using.profile, ["--config", __file__, "--controls", "--json"])
    assert "profiles reported" not in plain.stdout
    assert isinstance(without.exception, ConfigError)
    assert told.stdout.startswith(plain.stdout)
    assert "0 of 2 profiles reported anything" in told.stdout
    assert len(json.loads(state.stdout)["controls"]["runs"]) == 2
    assert asked == [(repeated, 5)] * 2
