from __future__ import annotations

import itertools
from typing import Any

import pytest

from icp_ml.insight.profile import Profile
from icp_ml.insight.wording import FORBIDDEN, detectable_text, forbidden_words, sentence

KINDS = ("icp", "anti_icp", "not_enough_evidence", "no_evidence")
TARGETS = ("retained", "expanded", "churned_first_year")
ENDS = ((0.01, 0.1), (-0.02, 0.05), (-0.1, -0.01), (float("nan"), float("nan")))


def rows() -> list[dict[str, Any]]:
    return [
        {
            "target": target,
            "trait": "uses X",
            "kind": kind,
            "direction": direction,
            "adjusted_low": low,
            "adjusted_high": high,
            "proxy_of": proxy,
            "accounts_needed": needed,
        }
        for target, kind, direction, (low, high), proxy, needed in itertools.product(
            TARGETS, KINDS, (1, -1), ENDS, ("", "size"), (0, 500)
        )
    ]


def test_no_sentence_claims_more_than_an_association() -> None:
    for row in rows():
        assert forbidden_words(sentence(row)) == []


@pytest.mark.parametrize("word", FORBIDDEN)
def test_forbidden_words_are_caught(word: str) -> None:
    assert word in forbidden_words(f"Size {word} retention")


def test_the_numbers_choose_the_sentence() -> None:
    row = rows()[0] | {"kind": "icp", "direction": 1, "proxy_of": ""}
    assert "also among otherwise similar" in sentence(row)
    assert "unclear" in sentence(row | {"adjusted_low": -0.1})
    assert "stand-in for size" in sentence(row | {"adjusted_low": -0.1, "proxy_of": "size"})
    assert "sign turns" in sentence(row | {"adjusted_low": -0.1, "adjusted_high": -0.01})
    assert "could not be estimated" in sentence(row | {"adjusted_low": float("nan")})
    assert "not distinguishable from luck" in sentence(row | {"kind": "no_evidence"})
    assert "500 more accounts" in sentence(row | {"kind": "not_enough_evidence", "accounts_needed": 500})


def test_everything_a_profile_prints_is_clean(profile: Profile) -> None:
    assert forbidden_words(profile.to_text()) == []
    for row in profile.traits.to_dict("records"):
        assert forbidden_words(sentence({str(key): value for key, value in row.items()})) == []


def test_too_few_events_are_said_before_anything_else() -> None:
    assert "too few" in detectable_text(200, 12, 0.94, 0.2, "retained", 30)
