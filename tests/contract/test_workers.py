"""How the tests themselves are run."""

from __future__ import annotations

import pytest


def test_tests_of_a_file_stay_on_one_worker(request: pytest.FixtureRequest) -> None:
    """With pytest 9.2 pytest-xdist 3.8 lost its groups and said nothing: each fixture was made twice."""
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("only where tests are spread over workers by group")
    assert request.node.nodeid.endswith("@contract/test_workers.py")
