"""The bundled demo base: the CRM of a small vendor, simulated, with its truth beside it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from icp_ml.simulation.tables import SimulatedTables, make_tables
from icp_ml.writing import write_file

SETTINGS: dict[str, Any] = {
    "n_accounts": 1500,
    "seed": 7,
    "start": "2020-01-01",
    "until": "2025-09-30",
    "signal": "medium",
    "churn": 0.15,
}
FORMATS = {"technologies": "parquet", "usage": "parquet", "tickets": "csv.gz"}
ABOUT = (
    "A simulated vendor; companies, contracts and traits are made up, tool names stand for kinds of tools. "
    "Traits of the list below were planted; every other association is a stand-in for one of them, or luck."
)


def make_demo() -> SimulatedTables:
    """Return the demo base as it is bundled."""
    return make_tables(**SETTINGS)


def write_demo(folder: str | Path) -> Path:
    """Write the demo base into a folder: one file per table and ``truth.json``.

    Parameters
    ----------
    folder
        Where to; made if it does not exist.

    Returns
    -------
    Path
        The folder.
    """
    base = make_demo()
    home = base.write(folder, FORMATS)
    truth = base.truth
    counts = Counter(zip(base.dirt["table"].tolist(), base.dirt["rule"].tolist(), strict=True))
    facts = {
        "about": ABOUT,
        "version": truth.version,
        "settings": SETTINGS,
        "traits": truth.traits,
        "segments": truth.segments,
        "proxies": truth.proxies,
        "confounded": truth.confounded,
        "nulls": truth.nulls,
        "rejects": [{"table": table, "rule": rule, "n": n} for (table, rule), n in sorted(counts.items())],
        "world": truth.to_dict()["world"],
    }
    write_file(home / "truth.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    return home
