"""The short form of the tripwires experiment: planted leaks are caught, honest bases pass."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "tripwires"


@pytest.fixture(scope="module")
def planted() -> ModuleType:
    spec = importlib.util.spec_from_file_location("planted_leaks", FOLDER / "planted.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted_leaks"] = module
    spec.loader.exec_module(module)
    return module


def alarms(dataset: object) -> set[str]:
    from icp_ml import find_tripwires

    return {finding.column for finding in find_tripwires(dataset) if finding.severity != "note"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "outcome copy",
        "outcome copy, 7 % wrong",
        "post-sale health score",
        "missing only for churned",
        "months to the end date",
        "re-observed after leaving (panel)",
        "number ordered by outcome",
        "mean outcome of the account (panel)",
        "future technology",
    ],
)
def test_a_planted_leak_is_caught_and_nothing_else(planted: ModuleType, name: str) -> None:
    dataset, column = planted.PLANTED[name](31, 1_000)
    assert alarms(dataset) == {column}


def test_honest_bases_pass(planted: ModuleType) -> None:
    assert [alarms(planted.clean_world(number, 40 + number)) for number in (0, 3, 7)] == [set(), set(), set()]
