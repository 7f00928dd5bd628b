"""What tests of several rooms share: warnings of a store's libraries, and the scripts of experiments."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Nothing here is judged by the clock: another job on the machine is no fault of the code.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")

TESTS = Path(__file__).resolve().parent
EXPERIMENTS = TESTS.parent / "experiments"
#: What MLflow and SQLAlchemy warn of themselves; nothing of it is ours.
OF_A_STORE = ("ignore::DeprecationWarning:sqlalchemy", "ignore:.*noload.*", "ignore::ResourceWarning")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let a store's warnings through where a test is marked ``mlflow``; keep files together on one worker.

    So a file's fixtures are made once. Slow tests go to whichever worker is free, unless they name the server
    or the session that they share with others.
    """
    if item.get_closest_marker("mlflow") is not None:
        for known in OF_A_STORE:
            item.add_marker(pytest.mark.filterwarnings(known))
    if item.get_closest_marker("slow") is None and item.get_closest_marker("xdist_group") is None:
        item.add_marker(pytest.mark.xdist_group(item.path.relative_to(TESTS).as_posix()))


@pytest.fixture(scope="session")
def script() -> Callable[[str], Any]:
    """Imports a script of ``experiments`` by its path, beside the neighbours that it imports itself."""

    def imported(path: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str((EXPERIMENTS / path).parent))
            return importlib.import_module(Path(path).stem)

    return imported


@pytest.fixture(scope="session")
def world(script: Callable[[str], Any]) -> Any:
    """A small base that drifts, whose every value holds a marker."""
    return script("lifecycle/world.py")
