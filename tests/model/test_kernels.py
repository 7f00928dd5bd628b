"""Compiled code reads and writes inside its arrays, whatever the rows, and is given no others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .fasttree.boosters import KINDS, train


def test_every_kernel_stays_inside_its_arrays(tmp_path: Path) -> None:
    """Numba checks each index here; without optimisation it compiles in a fraction of the time."""
    texts = [train(KINDS[kind], rounds=3).model_to_string() for kind in ("deep", "big_categories")]
    env = {
        **os.environ,
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_OPT": "0",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("bounds.py"))],
        input="\x00".join(texts),
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
