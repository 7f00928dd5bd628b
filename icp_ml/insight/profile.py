"""The profile: which accounts stay and grow, which don't, what is not known; each claim with its evidence.

Every nightly scoring run loads it, so how it is built lies in :mod:`icp_ml.insight.building`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from icp_ml.data.schema import Schema
from icp_ml.foreign import Given
from icp_ml.insight import render
from icp_ml.insight.storedprofile import check_conditions, read_facts, read_table

FORMAT = 1
TRAIT_COLUMNS = (
    "target",
    "trait",
    "feature",
    "operator",
    "value",
    "direction",
    "kind",
    "role",
    "n_accounts",
    "support",
    "rate",
    "rate_without",
    "base_rate",
    "lift",
    "lift_low",
    "lift_high",
    "adjusted_effect",
    "adjusted_low",
    "adjusted_high",
    "mean_contribution",
    "p_value",
    "q_value",
    "stability",
    "proxy_of",
    "accounts_needed",
)
SEGMENT_COLUMNS = (
    "name",
    "conditions",
    "target",
    "n_accounts",
    "support",
    "rate",
    "lift",
    "lift_low",
    "lift_high",
    "jaccard_stability",
    "decidable",
)


@dataclass(frozen=True, eq=False)
class Profile:
    """What an ideal customer is, as far as the data can tell.

    Parameters
    ----------
    traits
        One row per candidate and target, also those that failed; columns as in the architecture, section 4.
        ``lift`` is ``rate - base_rate`` in share units (0.07 = 7 points), measured on accounts that didn't
        find the condition and shrunken; ``accounts_needed`` counts further accounts, 0 where the answer is
        known.
    segments
        Short conjunctions of confirmed traits, measured on accounts that didn't find them.
    facts
        Base rates, events, what was detectable, engine, q, seed and threshold ranges; JSON-able.
    """

    traits: pd.DataFrame
    segments: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def icp(self) -> pd.DataFrame:
        """Confirmed traits that speak for an account, must-haves first, then by lift."""
        return self._side("icp", ("must_have", "nice_to_have", "unknown"))

    @property
    def anti_icp(self) -> pd.DataFrame:
        """Confirmed traits that speak against an account, hard-nos first, then by lift."""
        return self._side("anti_icp", ("hard_no", "caution", "unknown"))

    def _side(self, kind: str, roles: Sequence[str]) -> pd.DataFrame:
        rows = self.traits[self.traits["kind"] == kind]
        rank = rows["role"].map({role: i for i, role in enumerate(roles)}).fillna(len(roles))
        order = np.lexsort((-rows["lift"].abs().to_numpy(), rank.to_numpy(dtype=np.float64)))
        return rows.iloc[order].reset_index(drop=True)

    def to_text(self, width: int = 100) -> str:
        """Return the profile as one screen of text, what could have been seen first.

        Parameters
        ----------
        width
            Most characters of a line.
        """
        return render.profile_text(self, width)

    def compare(self, expected: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Hold the profile against a list of stated or planted traits.

        Parameters
        ----------
        expected
            Dicts with ``target``, ``feature``, ``operator``, ``value`` and ``direction``.

        Returns
        -------
        pandas.DataFrame
            ``verdict`` (found, missed, false), ``target``, ``feature``, ``trait`` (the text), ``expected``
            (the text of the expected one), ``direction_agrees``, ``proxy_of``. An expected trait is found
            when a confirmed row of the same target reads the same feature (and tool); a confirmed row that
            nobody expects is ``false``.
        """
        return render.compare(self.traits, expected)

    def to_state(self) -> dict[str, Any]:
        """Return a dict for JSON; what is not a finite number becomes None."""
        return {
            "format": FORMAT,
            "traits": _records(self.traits),
            "segments": _records(self.segments),
            "facts": _plain(self.facts),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given, schema: Schema | None = None) -> Profile:
        """Rebuild what :meth:`to_state` gave; with a schema, conditions have to fit its features.

        Raises
        ------
        BundleError
            A field is missing, of another type or out of range, or a condition is none.
        """
        given = Given.of(state, "profile").record("format", "traits", "segments", "facts")
        if given["format"].whole() != FORMAT:
            given["format"].refuse(f"format {FORMAT}")
        traits = read_table(given["traits"], TRAIT_COLUMNS)
        segments = read_table(given["segments"], SEGMENT_COLUMNS)
        check_conditions(given, Schema(()) if schema is None else schema)
        return cls(traits, segments if len(segments) else empty_segments(), read_facts(given["facts"]))


def empty_segments() -> pd.DataFrame:
    """Return a segments table without rows, columns and types as promised."""
    text = {"name", "conditions", "target"}
    return pd.DataFrame(
        {
            name: pd.Series(
                [], dtype=object if name in text else np.int64 if name == "n_accounts" else np.float64
            )
            for name in SEGMENT_COLUMNS
        }
    )


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): _plain(value) for key, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def profile_json(profile: Profile) -> str:
    """Return a profile as JSON text, the same bytes for the same profile."""
    return json.dumps(profile.to_state(), ensure_ascii=False, allow_nan=False, sort_keys=True)
