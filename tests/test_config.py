"""Settings: every key known, typed and in range, or refused with what was meant."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icp_ml.config import Config, DataConfig, load_config, parse_config
from icp_ml.data.windows import quarter_ends
from icp_ml.errors import ConfigError

DOCS = Path(__file__).parents[1] / "docs"
days = st.dates(date(2015, 1, 1), date(2030, 12, 31))


def write(folder: Path, text: str) -> Path:
    file = folder / "icp.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults_are_usable_without_a_file():
    config = Config()

    assert (config.horizon_months, config.seed, config.reasons) == (12, 0, 3)
    assert (config.snapshot_dates, config.test_from, config.observed_until) == ((), None, None)
    assert (config.post_sale, config.expansion_tolerance, config.technology_grace_days) == (False, 0.05, 0)


def test_every_value_of_a_file_is_read(tmp_path):
    config = load_config(
        write(
            tmp_path,
            """
            [data]
            source = "crm"
            snapshot_first = 2023-01-01
            snapshot_last = "2023-09-30"
            horizon_months = 6
            test_from = 2023-09-30
            observed_until = 2024-06-30
            expansion_tolerance = 0
            post_sale = true
            technology_grace_days = 30
            [model]
            seed = 7
            reasons = 2
            [tracking]
            experiment = "e"
            model_name = "m"
            tracking_uri = "sqlite:///runs.db"
            [output]
            folder = "o"
            """,
        )
    )

    assert config.snapshot_dates == (date(2023, 3, 31), date(2023, 6, 30), date(2023, 9, 30))
    assert (config.horizon_months, config.test_from) == (6, date(2023, 9, 30))
    assert (config.observed_until, config.expansion_tolerance) == (date(2024, 6, 30), 0.0)
    assert (config.post_sale, config.technology_grace_days) == (True, 30)
    assert (config.seed, config.reasons, config.experiment, config.model_name) == (7, 2, "e", "m")
    assert config.source == tmp_path / "crm"
    assert config.output_folder == tmp_path / "o"
    assert config.tracking_uri == f"sqlite:///{tmp_path / 'runs.db'}"


def test_listed_snapshots_are_sorted_and_counted_once():
    text = {"data": {"snapshot_dates": [date(2024, 6, 30), "2024-03-31", date(2024, 6, 30)]}}

    assert parse_config(text).snapshot_dates == (date(2024, 3, 31), date(2024, 6, 30))


@given(first=days, last=days)
def test_range_is_the_quarter_ends_of_the_data_room(first, last):
    expected = tuple(quarter_ends(first, last)) if first <= last else ()

    if not expected:
        with pytest.raises(ConfigError, match="quarter end"):
            Config(data=DataConfig(snapshot_first=first, snapshot_last=last))
    else:
        config = Config(data=DataConfig(snapshot_first=first, snapshot_last=last))
        assert config.snapshot_dates == expected


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("[data]\nhorizon_month = 12", "horizon_months"),
        ("[data]\ntestfrom = 2024-01-01", "test_from"),
        ("[traking]\nexperiment = 'x'", "tracking"),
        ("[model]\nSeed = 1", "seed"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(tmp_path, text, nearest):
    with pytest.raises(ConfigError, match=f"did you mean '{nearest}'") as caught:
        load_config(write(tmp_path, text))

    assert caught.value.nearest == nearest


def test_a_name_like_no_other_lists_the_known_ones():
    with pytest.raises(ConfigError, match="Known: allow_leaks, falling, objective, .*, seed") as caught:
        parse_config({"model": {"qqqqqq": 1}})

    assert caught.value.nearest is None


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "horizon_months", 12.0),
        ("data", "horizon_months", True),
        ("data", "horizon_months", "12"),
        ("data", "expansion_tolerance", "5 %"),
        ("data", "expansion_tolerance", False),
        ("data", "post_sale", 1),
        ("data", "source", 3),
        ("data", "test_from", 2024),
        ("data", "test_from", "31.12.2024"),
        ("data", "snapshot_dates", "2024-03-31"),
        ("data", "snapshot_dates", []),
        ("data", "snapshot_dates", ["soon"]),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(section, key, value):
    with pytest.raises(ConfigError, match=f"{section}.{key}") as caught:
        parse_config({section: {key: value}})

    assert caught.value.key == f"{section}.{key}"


def test_a_moment_is_not_a_day(tmp_path):
    with pytest.raises(ConfigError, match="test_from"):
        load_config(write(tmp_path, "[data]\ntest_from = 2024-12-31T00:00:00"))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "horizon_months", 0),
        ("data", "technology_grace_days", -1),
        ("data", "expansion_tolerance", -0.01),
        ("data", "expansion_tolerance", 10.0),
        ("data", "expansion_tolerance", float("nan")),
        ("model", "reasons", -1),
        ("model", "seed", -1),
    ],
)
def test_a_value_out_of_range_is_refused(section, key, value):
    with pytest.raises(ConfigError, match=key):
        parse_config({section: {key: value}})


def test_values_at_the_edge_of_the_range_are_taken():
    config = parse_config({"data": {"horizon_months": 1, "expansion_tolerance": 0}, "model": {"reasons": 0}})

    assert (config.horizon_months, config.expansion_tolerance, config.reasons) == (1, 0.0, 0)


@pytest.mark.parametrize(
    "data",
    [
        {"snapshot_first": date(2024, 3, 31)},
        {"snapshot_last": date(2024, 3, 31)},
        {
            "snapshot_first": date(2024, 3, 31),
            "snapshot_last": date(2024, 6, 30),
            "snapshot_dates": [date(2024, 3, 31)],
        },
    ],
)
def test_snapshots_are_either_a_range_or_a_list(data):
    with pytest.raises(ConfigError, match="either"):
        parse_config({"data": data})


def test_a_missing_file_and_broken_toml_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing at .*icp\.toml"):
        load_config(tmp_path / "icp.toml")
    with pytest.raises(ConfigError, match="expected TOML"):
        load_config(write(tmp_path, "[data"))


def test_a_section_must_be_a_section():
    with pytest.raises(ConfigError, match=r"\[data\]"):
        parse_config({"data": 3})


def test_a_missing_source_is_said_when_it_is_needed():
    with pytest.raises(ConfigError, match="source"):
        _ = Config().source


def test_store_defaults_to_the_output_folder_and_other_addresses_are_kept():
    assert Config(base=Path("base")).tracking_uri == f"sqlite:///{Path('base/icp_out/mlflow.db')}"
    assert parse_config({"tracking": {"tracking_uri": "http://host:5000"}}).tracking_uri == "http://host:5000"
    absolute = parse_config({"tracking": {"tracking_uri": "sqlite:////data/x.db"}}, base=Path("base"))
    assert absolute.tracking_uri == "sqlite:////data/x.db"


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Config().model.seed = 1  # type: ignore[misc]


def test_the_example_in_the_docs_names_every_key_with_its_default():
    text = (DOCS / "icp.toml").read_text(encoding="utf-8")
    example = load_config(DOCS / "icp.toml")

    assert example.model == Config().model
    assert example.tracking.experiment == Config().tracking.experiment
    for section in (DataConfig(), example.model, example.tracking, example.output):
        for key in section.__slots__:
            assert f"{key} =" in text, key
