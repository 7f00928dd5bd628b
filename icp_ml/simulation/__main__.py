"""``python -m icp_ml.simulation [FOLDER]`` writes the demo base; without a folder, the bundled one."""

from __future__ import annotations

import sys
from pathlib import Path

from icp_ml.simulation.demo import write_demo

if __name__ == "__main__":
    home = write_demo(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "demo")
    sys.stdout.write(f"demo base written to {home}\n")
