"""Negative controls: the outcomes hold nothing, keep what they must keep, and the counts are said."""

from __future__ import annotations

import json
from types import SimpleNamespace

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
from icp_ml.view.report import render_report
from tests.insight.conftest import as_dataset
from tests.view import samples


@pytest.fixture(scope="module")
def repeated() -> Dataset:
    return as_dataset(make_frame(150, seed=30_400, signal="strong", snapshots=4), ("retained", "expanded"))


def history(dataset: Dataset) -> list[tuple[object, ...]]:
    rows = dataset.labels.assign(group=dataset.groups).groupby("group", sort=False)
    return [tuple(part[["retained", "expanded"]].astype(float).to_numpy().ravel()) for _, part in rows]


def test_whole_histories_are_exchanged(repeated: Dataset) -> None:
    other = exchanged(repeated, 1)
    assert sorted(history(other)) == sorted(history(repeated))
    assert history(other) != history(repeated)
    assert other.features is repeated.features
    by_date = [set_.labels.groupby("snapshot_date")["retained"].mean() for set_ in (other, repeated)]
    pd.testing.assert_series_equal(*by_date)


def test_exchange_stays_within_the_entry_cohort(repeated: Dataset) -> None:
    late = repeated.labels["account_id"].str[-1].astype(int) % 2 == 0
    first = repeated.labels["snapshot_date"].min()
    dataset = repeated.take(~(late & (repeated.labels["snapshot_date"] == first)).to_numpy())
    other = exchanged(dataset, 2)
    assert other.labels["retained"].isna().sum() == 0
    even = dataset.labels["account_id"].str[-1].astype(int) % 2 == 0
    assert dataset.take(even.to_numpy()).labels["retained"].sum() == other.labels["retained"][even].sum()


def test_a_shorter_history_leaves_the_rest_unknown(repeated: Dataset) -> None:
    last = repeated.labels["snapshot_date"].max()
    odd = repeated.labels["account_id"].str[-1].astype(int) % 2 == 1
    dataset = repeated.take(~(odd & (repeated.labels["snapshot_date"] == last)).to_numpy())
    other = exchanged(dataset, 3)
    gone = other.labels["retained"].isna()
    assert 0 < gone.sum() < 60
    assert (other.labels.loc[gone, "snapshot_date"] == last).all()
    assert other.labels.loc[gone, "expanded"].isna().all()


def test_the_coin_is_the_accounts_own_at_the_base_rate(repeated: Dataset) -> None:
    tossed = coin(repeated, 4)
    per_account = tossed.labels.groupby("account_id")["retained"].nunique()
    assert (per_account == 1).all()
    assert tossed.labels["retained"].mean() == pytest.approx(repeated.labels["retained"].mean(), abs=0.1)
    assert coin(repeated, 4).labels.equals(tossed.labels)
    assert not coin(repeated, 5).labels["retained"].equals(tossed.labels["retained"])
    agree = (tossed.labels["retained"] == repeated.labels["retained"]).mean()
    rate = float(repeated.labels["retained"].mean())
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
        sorted(tuple(part) for part in set_.labels["retained"].to_numpy(dtype=float).reshape(-1, 4))
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
