"""What a report says about data, model and reading: label and text, in a fixed order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from icp_ml.view import wording

if TYPE_CHECKING:
    from icp_ml.insight.profile import Profile
    from icp_ml.serve.icpmodel import IcpModel

Rows = list[tuple[str, str]]


def data_facts(model: IcpModel, facts: Mapping[str, Any]) -> Rows:
    """Return the lines on the data: what was in, what was left out and why, what limits the claims.

    Parameters
    ----------
    model
        The model; its facts give sizes and dates.
    facts
        Facts of the dataset.
    """
    known = model.facts
    rows: Rows = [
        ("Accounts", wording.count(known.get("accounts"))),
        ("Account snapshots", wording.count(known.get("rows"))),
    ]
    if known.get("first_snapshot"):
        rows.append(("Snapshots", f"{known['first_snapshot']} to {known['last_snapshot']}"))
    if known.get("horizon_months"):
        rows.append(("Outcome read within", f"{known['horizon_months']} months after the snapshot"))
    if facts.get("observed_until"):
        how = facts.get("observed_until_how")
        rows.append(("Data observed until", f"{facts['observed_until']}{f' ({how})' if how else ''}"))
    rows += _left_out(facts)
    late = list(facts.get("not_point_in_time") or [])
    if late:
        rows.append(("Not point-in-time (past snapshots see today’s value)", _listed(late)))
    rows += _features_left_out(model)
    return rows


def _left_out(facts: Mapping[str, Any]) -> Rows:
    dropped = facts.get("dropped")
    if not isinstance(dropped, Mapping):
        return []
    names = {
        "censored": "Censored (horizon unfinished; neither kept nor lost)",
        "locked_in": "Locked in (could not leave within the horizon)",
        "not_active": "Not paying on the snapshot day",
    }
    return [
        (names.get(reason, str(reason).replace("_", " ").capitalize()), f"{wording.count(n)} rows left out")
        for reason, n in dropped.items()
        if n
    ]


def _features_left_out(model: IcpModel) -> Rows:
    """List what the model doesn't look at, above all what is known only after the sale."""
    rows: Rows = []
    dropped = [(name, why) for name, why in model.schema.dropped]
    after = [name for name, why in dropped if "post" in why]
    other = [f"{name} ({why})" for name, why in dropped if "post" not in why]
    if after:
        rows.append(("Left out: known only after the sale", _listed(after)))
    elif not any(feature.family == "post_sale" for feature in model.schema.features):
        rows.append(("Known only after the sale", "none of the features; the model can score prospects"))
    inside = [feature.name for feature in model.schema.features if feature.family == "post_sale"]
    if inside:
        text = f"{_listed(inside)}: not for prospects"
        rows.append(("In the model although known only after the sale", text))
    if other:
        rows.append(("Columns left out", _listed(other)))
    return rows


def model_facts(model: IcpModel, profile: Profile) -> Rows:
    """Return the lines on the model: version, kind per outcome, seed, fingerprint, packages."""
    facts = model.facts
    rows: Rows = [("Version", model.version or "not registered")]
    for target, known in dict(facts.get("targets") or {}).items():
        name = wording.target_name(target).capitalize()
        rows.append((name, f"{known.get('chosen')}, {wording.count(known.get('rows'))} rows"))
    for target, why in dict(facts.get("skipped_targets") or {}).items():
        rows.append((f"{wording.target_name(target).capitalize()} not modelled", str(why)))
    for label, key in (("Seed", "seed"), ("Dataset fingerprint", "dataset_fingerprint")):
        if facts.get(key) is not None:
            rows.append((label, str(facts[key])))
    packages = dict(facts.get("packages") or {})
    if packages:
        rows.append(("Packages", ", ".join(f"{name} {version}" for name, version in packages.items())))
    plain = {key: value for key, value in profile.facts.items() if isinstance(value, str | int | float)}
    rows += [(str(key).replace("_", " ").capitalize(), _short(value)) for key, value in plain.items()]
    return rows


def reading_guide(facts: Mapping[str, Any]) -> Rows:
    """Return the words of the page and what each one means.

    Parameters
    ----------
    facts
        Facts of the profile; ``q`` is the share of false lines that is accepted.
    """
    accepted = wording.share(facts.get("q", 0.10))
    return [
        (
            "Base rate",
            "Share of all accounts that reached the outcome: the best guess of one who knows nothing.",
        ),
        ("Lift", "Rate of the accounts with the trait minus the base rate, in percentage points."),
        (
            "Interval",
            "Where the lift may lie, 90 % of the time; measured on accounts that didn’t find the trait.",
        ),
        (
            "At equal other features",
            "Accounts with the trait less those without it, in points, alike in everything else known.",
        ),
        ("q", f"Among the lines accepted, about {accepted} may be luck. Everything searched is counted in."),
        ("Not enough evidence", "These accounts can’t tell. It doesn’t say that there is no difference."),
        ("Decidable", "Share of accounts whose fields are known, so that two people would answer alike."),
    ]


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _short(value: str | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
