from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icp_ml.data.schema import Feature, Schema
from icp_ml.errors import InputMismatchError
from icp_ml.model import contributions
from icp_ml.model.columns import read_columns
from icp_ml.model.encoding import Encoder

from .bases import make_base

TECH = Schema((Feature("technologies", "technologies"),))
CITY = Schema((Feature("city", "category"),))


def column(encoder: Encoder, matrix: np.ndarray, name: str) -> np.ndarray:
    return matrix[:, encoder.columns.index(name)]


def fit_tools(stacks: list, **other) -> tuple[Encoder, pd.DataFrame]:
    frame = pd.DataFrame({"technologies": pd.Series(stacks, dtype=object)})
    return Encoder.fit(frame, TECH, y=np.arange(len(frame)) % 2.0, **other), frame


def test_frequent_levels_get_a_flag_and_rare_ones_share_one():
    frame = pd.DataFrame({"city": ["Rome"] * 30 + ["Oslo"] * 10 + ["Bern"] * 9 + ["Kyiv"] * 3 + [None] * 5})
    encoder = Encoder.fit(frame, CITY, y=np.arange(57) % 2.0)
    assert encoder.columns == ["city=Rome", "city=Oslo", "city (other)", "city (missing)"]
    np.testing.assert_array_equal(
        encoder.transform(pd.DataFrame({"city": ["Oslo", "Bern", "Lima", None]})),
        [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    )


def test_levels_are_compared_as_text():
    frame = pd.DataFrame({"city": [52, 53] * 20})
    encoder = Encoder.fit(frame, CITY, y=np.arange(40) % 2.0)
    for same in ([52, 53], [52.0, np.nan], ["52", "53"], pd.Series([52, None], dtype="Int64")):
        assert encoder.transform(pd.DataFrame({"city": same}))[0].tolist() == [1.0, 0.0]


def test_target_statistic_of_a_training_row_never_sees_its_own_account():
    rng = np.random.default_rng(1)
    n = 600
    city = [f"city {k}" for k in rng.integers(0, 30, n)]
    groups = np.repeat(np.arange(n // 2), 2)
    frame = pd.DataFrame({"city": city})
    y = (rng.random(n) < 0.3).astype(float)
    encoder, matrix = Encoder.fit_transform(frame, CITY, y, groups, seed=3)
    rate = column(encoder, matrix, "city (rate)")
    full = column(encoder, encoder.transform(frame), "city (rate)")
    # Seen in full, the statistic of noise knows the outcome; out of fold it can't.
    assert np.corrcoef(full, y)[0, 1] > 0.15
    assert np.corrcoef(rate, y)[0, 1] < 0.05


def test_target_statistic_shrinks_to_the_base_rate():
    frame = pd.DataFrame({"city": [f"city {k}" for k in range(12)] * 10 + ["five"] * 5})
    y = np.append(np.tile([0.0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], 10), [1.0, 1, 0, 0, 1])
    encoder = Encoder.fit(frame, CITY, y)
    rate = column(
        encoder, encoder.transform(pd.DataFrame({"city": ["city 3", "five", "new"]})), "city (rate)"
    )
    base = np.log(y.mean() / (1 - y.mean()))
    assert base < rate[1] < rate[0]
    assert rate[2] == pytest.approx(base)


def test_tools_known_none_unknown_and_rare():
    stacks = [["AWS"]] * 12 + [["aws ", "Jira"]] * 12 + [[]] * 10 + [None] * 4 + [["Odd"]]
    encoder, _ = fit_tools(stacks)
    assert encoder.columns == [
        "technologies:aws",
        "technologies:jira",
        "technologies (rare)",
        "technologies (count)",
        "technologies (missing)",
    ]
    rows = pd.DataFrame({"technologies": [["AWS", "aws", "Odd", "New"], [], None]})
    np.testing.assert_array_equal(
        encoder.transform(rows), [[1, 0, 2, 3, 0], [0, 0, 0, 0, 0], [np.nan, np.nan, np.nan, np.nan, 1]]
    )


def test_list_columns_of_any_container_are_read_alike():
    stacks = [["AWS", "Jira"], [], None, ["Jira"]] * 10
    encoder, frame = fit_tools(stacks)
    expected = encoder.transform(frame)
    arrow = pd.Series(stacks, dtype=pd.ArrowDtype(pa.list_(pa.string())))
    arrays = [None if stack is None else np.array(stack, dtype=object) for stack in stacks]
    for same in (arrow, pd.Series(arrays, dtype=object)):
        np.testing.assert_array_equal(encoder.transform(pd.DataFrame({"technologies": same})), expected)


def test_slices_of_arrow_lists_are_read_from_their_own_offsets():
    stacks = [["AWS"], ["Jira"], None, ["AWS", "Jira"]] * 10
    encoder, frame = fit_tools(stacks)
    arrow = pd.DataFrame({"technologies": pd.Series(stacks, dtype=pd.ArrowDtype(pa.list_(pa.string())))})
    np.testing.assert_array_equal(encoder.transform(arrow.iloc[5:9]), encoder.transform(frame.iloc[5:9]))


def test_unseen_levels_and_tools_are_counted(base):
    encoder = Encoder.fit(base.features, base.schema, base.y, base.groups)
    unseen = encoder.unseen(base.features)
    held = base.features.groupby("city")["account_id"].nunique()
    assert {name: found["n_values"] for name, found in unseen.items()} == {"city": int((held < 5).sum())}
    new = base.features.head(6).copy()
    new["industry"] = ["Mining", "Mining", "Retail", None, "Space", "Retail"]
    new["technologies"] = [["Odd", "AWS"], ["AWS"], None, [], ["Odd"], ["odd"]]
    report = encoder.unseen(new)
    assert report["industry"] == {"n_rows": 3, "n_values": 2, "examples": ["Mining", "Space"]}
    assert report["technologies"] == {"n_rows": 3, "n_values": 1, "examples": ["odd"]}


def test_every_encoded_column_knows_its_source(base):
    encoder = Encoder.fit(base.features, base.schema, base.y, base.groups)
    names = [base.schema.names[j] for j in encoder.source_of]
    assert names == [part.feature for part in encoder.parts]
    assert set(names) == set(base.schema.names)


def test_state_is_json_and_encodes_bit_for_bit(base):
    encoder = Encoder.fit(base.features, base.schema, base.y, base.groups)
    state = json.loads(json.dumps(encoder.to_state(), allow_nan=False))
    again = Encoder.from_state(state)
    assert again.columns == encoder.columns
    np.testing.assert_array_equal(again.transform(base.features), encoder.transform(base.features))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 299), min_size=1, max_size=12))
def test_a_row_is_encoded_alone(rows):
    data = make_base()
    encoder = Encoder.fit(data.features, data.schema, data.y, data.groups)
    whole = encoder.transform(data.features)
    np.testing.assert_array_equal(encoder.transform(data.features.iloc[rows]), whole[rows])


def test_no_frequent_level_still_gives_a_column():
    frame = pd.DataFrame({"city": list("abcdef")})
    encoder = Encoder.fit(frame, CITY, y=np.array([0.0, 1, 0, 1, 0, 1]))
    assert encoder.transform(frame).shape == (6, 1)


@pytest.mark.parametrize(
    ("kind", "values", "found"),
    [
        ("numeric", ["12", "many"], "many"),
        ("boolean", [True, "perhaps"], "perhaps"),
        ("technologies", ["AWS;Jira", "AWS"], "lists of tool names"),
        ("technologies", [[["AWS"]], []], "lists of tool names"),
    ],
)
def test_values_of_the_wrong_kind_are_a_named_error(kind, values, found):
    schema = Schema((Feature("column", kind),))
    with pytest.raises(InputMismatchError, match=found):
        Encoder.fit(pd.DataFrame({"column": pd.Series(values, dtype=object)}), schema, y=np.array([0.0, 1]))


def test_missing_and_doubled_columns_are_named(base):
    encoder = Encoder.fit(base.features, base.schema, base.y, base.groups)
    with pytest.raises(InputMismatchError, match="city") as caught:
        encoder.transform(base.features.drop(columns="city"))
    assert caught.value.missing == ["city"]
    doubled = pd.concat([base.features, base.features[["city"]]], axis=1)
    with pytest.raises(InputMismatchError, match="city"):
        encoder.transform(doubled)


def test_infinite_numbers_are_unknown():
    schema = Schema((Feature("x", "numeric"),))
    frame = pd.DataFrame({"x": [1.0, np.inf, -np.inf, 2.0]})
    encoder = Encoder.fit(frame, schema, y=np.array([0.0, 1, 0, 1]))
    assert np.isnan(encoder.transform(frame)[:, 0]).tolist() == [False, True, True, False]


def test_a_matrix_of_another_target_is_made_ones_own():
    rng = np.random.default_rng(0)
    stages = ["Seed", "Series A", "Series B", "Series C", "IPO"]
    frame = pd.DataFrame(
        {
            "city": [f"city {k}" for k in rng.integers(0, 12, 400)],
            "stage": rng.choice(stages, 400),
            "size": rng.normal(size=400),
        }
    )
    frame.loc[:40, ["city", "stage"]] = None
    kinds = ("category", "category", "numeric")
    schema = Schema(tuple(map(Feature, frame.columns, kinds)))
    # A stage that only one of them knew puts the others' steps elsewhere.
    rare = frame.assign(stage=frame["stage"].where(np.arange(400) > 0, "Series D"))
    first, second = (
        Encoder.fit(f, schema, y=rng.random(400) < share) for f, share in ((frame, 0.2), (rare, 0.7))
    )
    assert first.parts == second.parts
    columns = read_columns(rare, schema)
    matrix, wanted = first.transform(columns, order="F"), second.transform(columns)
    differ = {first.parts[j].role for j in np.flatnonzero((matrix != wanted).any(axis=0))}
    assert differ == {"rate", "rank"}
    second.recode(matrix, columns)
    np.testing.assert_array_equal(matrix, wanted)


def test_kernel_and_numpy_write_the_same_matrix(base, monkeypatch):
    few = base.features.head(100)
    encoder = Encoder.fit(few, base.schema, base.y[:100])
    by_numpy = encoder.transform(base.features, order="F")
    assert {"level", "other", "missing", "tool", "rare"} <= {part.role for part in encoder.parts}
    monkeypatch.setattr(contributions, "KERNEL_ROWS", 1)
    np.testing.assert_array_equal(encoder.transform(base.features, order="F"), by_numpy)
    np.testing.assert_array_equal(encoder.transform(base.features, order="C"), by_numpy)
