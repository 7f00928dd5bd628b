"""Who was champion when."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from icp_ml.errors import ConfigError
from icp_ml.serve.history import COLUMNS, Change, champion_on, earlier_champion, history_frame

START = datetime(2025, 1, 1, 3, 0, tzinfo=UTC)


def line(*steps: tuple[str, str | None]) -> list[Change]:
    changes, before = [], None
    for number, (action, version) in enumerate(steps, start=1):
        at = START + timedelta(days=10 * (number - 1))
        changes.append(Change(number, at, action, version, before, "why"))
        before = version
    return changes


def test_a_day_has_the_champion_in_place_when_it_ended():
    changes = line(("promoted", "m/1"), ("promoted", "m/2"))
    assert champion_on(changes, date(2024, 12, 31)) is None
    assert champion_on(changes, date(2025, 1, 1)) == "m/1"
    assert champion_on(changes, "2025-01-10") == "m/1"
    assert champion_on(changes, "2025-01-11") == "m/2"
    assert champion_on(changes, datetime(2025, 1, 11, 2, 59, tzinfo=UTC)) == "m/1"
    assert champion_on(changes, "2025-01-11T03:00:00") == "m/2"


def test_two_changes_at_one_moment_are_told_apart_by_number():
    changes = line(("promoted", "m/1"), ("promoted", "m/2"))
    same = [Change(c.sequence, START, c.action, c.version, c.replaces, c.reason) for c in reversed(changes)]
    assert champion_on(same, "2025-01-01") == "m/2"


def test_a_day_that_is_none_is_named():
    with pytest.raises(ConfigError, match="2025-13-01"):
        champion_on([], "2025-13-01")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], None),
        ([("promoted", "m/1")], None),
        ([("promoted", "m/1"), ("promoted", "m/2")], "m/1"),
        ([("promoted", "m/1"), ("promoted", "m/2"), ("rolled_back", "m/1")], None),
        ([("promoted", "m/1"), ("promoted", "m/2"), ("rolled_back", "m/1"), ("promoted", "m/3")], "m/1"),
        ([("moved_by_hand", "m/4"), ("promoted", "m/5")], "m/4"),
        ([("promoted", "m/1"), ("moved_by_hand", None), ("promoted", "m/2")], "m/1"),
        ([("promoted", "m/1"), ("promoted", "m/1")], None),
    ],
)
def test_one_goes_back_past_what_was_rolled_back(steps, expected):
    assert earlier_champion(line(*steps)) == expected


def test_changes_survive_as_plain_data_and_as_a_frame():
    changes = line(("promoted", "m/1"), ("rolled_back", "m/0"))
    assert [Change.from_state(change.to_state()) for change in changes] == changes
    frame = history_frame(reversed(changes))
    assert list(frame.columns) == list(COLUMNS)
    assert frame["version"].tolist() == ["m/1", "m/0"]
    assert frame["replaces"].tolist() == [None, "m/1"]
    assert frame["at"].tolist() == [change.at for change in changes]
    assert history_frame([]).empty
