"""Tripwires against leaks, run before every fit: what is refused, what is left out, what is merely said.

The signs follow Kapoor & Narayanan 2023 (Patterns 4:100804), "Leakage and the reproducibility crisis in
machine-learning-based science": illegitimate features, duplicates, and what is known only later.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from icp_ml.data.dataset import Dataset
from icp_ml.data.kinds import POST_SALE_WORDS, words
from icp_ml.data.leakage import FILLED, LIMIT, Leak, check_leakage, measure
from icp_ml.data.technologies import encode, flatten, tool_lists
from icp_ml.data.wires import (
    Finding,
    Outcome,
    Severity,
    after_snapshot,
    echoes,
    frozen,
    id_like,
    near_twins,
    pure_groups,
    shadows,
    tells_time,
)
from icp_ml.errors import LeakageError, LeakageWarning

#: Words of a column name that speak of the outcome itself.
OUTCOME_WORDS = frozenset(
    ["churn", "churned", "cancel", "cancelled", "canceled", "cancellation", "attrition", "lost", "loss"]
    + ["closed", "closing", "ended", "exit", "exited", "left", "leaving", "offboarding", "termination"]
    + ["terminated", "renewed", "renewal", "winback", "expired", "retained", "outcome", "chargeoff"]
)
#: Words for what a sales or service process writes down while, or after, the outcome comes about.
PROCESS_WORDS = frozenset(
    ["status", "stage", "tag", "tags", "quality", "disposition", "result", "reason", "duration", "final"]
    + ["end", "last", "latest", "notable", "risk"]
)
#: Words that make a name a company's own business: the stage of funding, the end of a fiscal year.
FIRM_WORDS = frozenset(["funding", "fiscal", "growth"])

# Honest single features of fifteen public sets reach .81, the leaks among them start at .80.
ALONE, MISSING, MISSING_NOTE = 0.88, 0.68, 0.60
NAMED_OUTCOME, NAMED_LATER = 0.70, 0.78
LEAST_ERRORS = 5.0

Wire = Callable[[Dataset, Outcome], Iterator[Finding]]
_WIRES: tuple[Wire, ...] = (pure_groups, echoes, id_like, after_snapshot, tells_time, frozen)


def find_tripwires(
    dataset: Dataset, allow: Sequence[str] = (), measured: Sequence[Leak] | None = None
) -> tuple[Finding, ...]:
    """Return every tripwire that a dataset sets off, without fitting a model.

    Parameters
    ----------
    dataset
        Features and outcomes.
    allow
        Columns that are known to be honest: nothing is said of them.
    measured
        What :func:`icp_ml.data.leakage.measure` returned for the dataset; None measures it.

    Returns
    -------
    tuple of Finding
        In the order of targets and wires, the strongest of a wire for each column. Single features with an
        AUC of .98 or more are ``refuse``: :func:`icp_ml.data.leakage.check_leakage` raises for them.
    """
    leaks = list(measure(dataset) if measured is None else measured)
    found: list[Finding] = []
    for target in dict.fromkeys(leak.target for leak in leaks):
        outcome = _outcome(dataset, target, leaks)
        own = [leak for leak in leaks if leak.target == target]
        wires = chain(_alone(dataset, own), *(wire(dataset, outcome) for wire in _WIRES))
        found += [finding for finding in wires if finding.column not in allow]
        hidden = [finding.column for finding in found if finding.severity != "note" and finding.tool is None]
        if hidden:
            shadow = shadows(dataset, outcome, list(dict.fromkeys(hidden)))
            found += [finding for finding in shadow if finding.column not in allow]
    found += near_twins(dataset)
    return tuple(_strongest(found))


def _strongest(found: Sequence[Finding]) -> list[Finding]:
    """Keep one finding of a wire for each column, tool and target: the gravest, then the strongest."""
    best: dict[object, Finding] = {}
    for finding in found:
        key = (finding.target, finding.wire, finding.column or finding.sentence, finding.tool)
        held = best.get(key)
        if held is None or _weight(finding) > _weight(held):
            best[key] = finding
    return list(best.values())


def _weight(finding: Finding) -> tuple[int, float]:
    return ("note", "quarantine", "refuse").index(finding.severity), finding.evidence


def _outcome(dataset: Dataset, target: str, leaks: Sequence[Leak]) -> Outcome:
    rows, y = dataset.target(target)
    areas: dict[str, tuple[float, float]] = {}
    for leak in leaks:
        if leak.target == target and leak.auc > areas.get(leak.column, (0.0, 0.0))[0]:
            areas[leak.column] = (leak.auc, leak.errors)
    return Outcome(target, rows, y, areas)


def _alone(dataset: Dataset, leaks: Sequence[Leak]) -> Iterator[Finding]:
    """Judge single features by their area, by their name together with it, and by being empty."""
    post_sale = {feature.name for feature in dataset.schema.features if feature.family == "post_sale"}
    for leak in leaks:
        sure = leak.errors >= LEAST_ERRORS
        said = f"{leak.what} gives away {leak.target}, AUC {leak.auc:.3f}"
        name = words(leak.column)
        name = set() if name & FIRM_WORDS else name
        outcome = sorted(name & OUTCOME_WORDS)
        later = sorted(name & (PROCESS_WORDS | POST_SALE_WORDS)) if leak.column not in post_sale else []
        wire, quarantined = "alone", False
        if sure and leak.auc >= ALONE:
            quarantined = True
        elif leak.what == FILLED and sure and leak.auc >= MISSING_NOTE:
            wire, quarantined = "missing", leak.auc >= MISSING
        elif sure and ((outcome and leak.auc >= NAMED_OUTCOME) or (later and leak.auc >= NAMED_LATER)):
            wire, quarantined = "name", True
            said += f", and its name says {', '.join(outcome or later)!r}"
        elif (outcome or later) and leak.what != FILLED:
            wire, said = "name", f"its name says {', '.join(outcome or later)!r}; AUC {leak.auc:.3f}"
        else:
            continue
        severity: Severity = "quarantine" if quarantined else "note"
        if leak.auc >= LIMIT:
            severity = "refuse"
        yield Finding(leak.column, wire, severity, leak.auc, said, leak.target, leak.tool)


def quarantine(dataset: Dataset, findings: Sequence[Finding]) -> Dataset:
    """Return the dataset without quarantined columns and tools, and warn of them.

    Raises
    ------
    LeakageError
        If no column is left.

    Warns
    -----
    LeakageWarning
        With the number of columns and tools, the first five of them, and why.
    """
    bad = [finding for finding in findings if finding.severity == "quarantine"]
    if not bad:
        return dataset
    columns = list(dict.fromkeys(finding.column for finding in bad if finding.tool is None))
    tools = list(
        dict.fromkeys(
            (finding.column, finding.tool)
            for finding in bad
            if finding.tool is not None and finding.column not in columns
        )
    )
    names = [*columns, *(f"{tool} in {column}" for column, tool in tools)]
    why = {
        name: next(
            finding.sentence
            for finding in bad
            if name in (finding.column, f"{finding.tool} in {finding.column}")
        )
        for name in names
    }
    shown = "; ".join(f"{name} ({why[name]})" for name in names[:5])
    kept = tuple(feature for feature in dataset.schema.features if feature.name not in columns)
    honest = "if they were known before, let them in with allow_leaks"
    if not kept:
        raise LeakageError(
            f"expected a feature that was known before the outcome, found none in {len(columns)}: {shown}; "
            + honest,
            columns=columns,
            leaks=bad,
        )
    warnings.warn(
        f"left {len(names)} of {len(dataset.schema.features)} columns or tools out of the fit, which seem to "
        f"know the outcome: {shown}; {honest}",
        LeakageWarning,
        stacklevel=4,
    )
    features = dataset.features.drop(columns=columns)
    for column, tool in tools:
        features[column] = _lists_without(features[column], tool)
    return replace(dataset, features=features, schema=replace(dataset.schema, features=kept))


def _lists_without(column: pd.Series[Any], tool: str) -> pd.Series[Any]:
    rows, tools, known = flatten(column)
    codes, distinct = encode(tools)
    keep = np.array([name != tool for name in distinct], dtype=np.bool_)[codes]
    return tool_lists(rows[keep], codes[keep], distinct, known)


__all__ = ["Finding", "check_leakage", "find_tripwires", "quarantine"]
