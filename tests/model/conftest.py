from __future__ import annotations

import pytest

from .bases import Base, make_base


@pytest.fixture(scope="session")
def base() -> Base:
    return make_base()
