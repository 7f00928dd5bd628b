"""Account bases with planted traits: the judge of every claim this library makes.

``make_frame`` gives a labelled table for truth experiments, ``make_tables`` raw CRM tables; both carry a
:class:`Truth` that knows what is planted, what only looks like it, and the exact probability of outcomes.
"""

from __future__ import annotations

from icp_ml.simulation.frame import SimulatedFrame, make_frame, make_prospects
from icp_ml.simulation.tables import SimulatedTables, make_tables
from icp_ml.simulation.traps import NO_TRAPS, Traps
from icp_ml.simulation.truth import Truth
from icp_ml.simulation.world import VERSION, World

__all__ = [
    "NO_TRAPS",
    "VERSION",
    "SimulatedFrame",
    "SimulatedTables",
    "Traps",
    "Truth",
    "World",
    "make_frame",
    "make_prospects",
    "make_tables",
]
