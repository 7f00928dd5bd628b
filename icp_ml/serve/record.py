"""What a training run leaves behind, as plain data: a tracker writes it, a test reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from icp_ml.visible import fenced, markdown_safe

if TYPE_CHECKING:
    from icp_ml.data.schema import Schema
    from icp_ml.model.evaluation import Evaluation
    from icp_ml.serve.icpmodel import IcpModel


@dataclass(frozen=True)
class RunRecord:
    """One training run, described without any tracker's words.

    Parameters
    ----------
    params
        Settings of the run, as text.
    metrics
        Name such as ``retained/auc`` → value; intervals as ``retained/auc_low`` and ``_high``, the logistic
        baseline as ``retained/auc_logistic``. NaN values are left out.
    fingerprint
        SHA-256 of the whole training dataset, 64 hex digits.
    tables
        Name → frame: metrics, deciles, traits, segments.
    facts
        Facts of the training, as JSON knows them.
    card
        Short model card in Markdown.
    files
        File name → text or bytes: figures and the report, drawn elsewhere.
    tags
        Short labels of the version, as text.
    example
        Rows in the form a scorer would send, with made-up values: a model's files hold no customer's row.
    plan
        The settings of the whole analysis.
    identity
        Hash of data and plan: the same for the same work; empty when nobody asked.
    """

    params: Mapping[str, str]
    metrics: Mapping[str, float]
    fingerprint: str
    tables: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Any]
    card: str
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    example: pd.DataFrame = field(default_factory=pd.DataFrame)
    plan: Mapping[str, Any] = field(default_factory=dict)
    identity: str = ""


def run_record(
    model: IcpModel,
    evaluation: Evaluation,
    *,
    params: Mapping[str, object] | None = None,
    files: Mapping[str, str | bytes] | None = None,
    plan: Mapping[str, Any] | None = None,
    identity: str = "",
) -> RunRecord:
    """Describe a trained and evaluated model.

    Parameters
    ----------
    model
        The model.
    evaluation
        Its evaluation on accounts it never saw.
    params
        Further settings to note.
    files
        File name → text or bytes to keep beside the model, such as ``report.html``.
    plan
        The settings of the whole analysis.
    identity
        Hash of data and plan.
    """
    facts = model.facts
    packages = facts["packages"]
    settings = {
        "seed": facts["seed"],
        "horizon_months": facts["horizon_months"],
        "first_snapshot": facts["first_snapshot"],
        "last_snapshot": facts["last_snapshot"],
        "rows": facts["rows"],
        "accounts": facts["accounts"],
        "features": len(model.schema.features),
        **{f"{name}_chosen": target["chosen"] for name, target in facts["targets"].items()},
        **(params or {}),
    }
    tables = {"metrics": evaluation.metrics, "deciles": evaluation.deciles, "gaps": evaluation.gaps}
    if model.profile is not None:
        tables |= {"traits": model.profile.traits, "segments": model.profile.segments}
    fingerprint = str(facts["dataset_fingerprint"])
    return RunRecord(
        params={name: str(value) for name, value in settings.items()},
        metrics=flat_metrics(evaluation.metrics) | _flat_gaps(evaluation.gaps),
        fingerprint=fingerprint,
        tables=tables,
        facts=facts,
        card=model_card(model, evaluation.metrics),
        tags={
            "dataset_fingerprint": fingerprint,
            "data_as_of": str(facts["last_snapshot"] or "dateless"),
            "icp_ml_version": str(packages.get("icp-ml", "")),
        },
        files=dict(files or {}),
        example=placeholder_rows(model.schema),
        plan=dict(plan or {}),
        identity=identity,
    )


def placeholder_rows(schema: Schema, rows: int = 2) -> pd.DataFrame:
    """Return rows in the form of a model's input that say nothing of any customer.

    Medians and frequent levels are customers' values too, so every number is 0 and every text made up.

    Examples
    --------
    >>> from icp_ml.data.schema import Feature, Schema
    >>> placeholder_rows(Schema((Feature("seats", "numeric"), Feature("region", "category"))), rows=1).values
    array([['example-1', 0.0, 'example']], dtype=object)
    """
    values: dict[str, object] = {
        "numeric": 0.0,
        "boolean": 0.0,
        "category": "example",
        "technologies": ["example"],
    }
    columns: dict[str, list[object]] = {
        schema.account_id: [f"example-{number}" for number in range(1, rows + 1)]
    }
    if schema.snapshot_date is not None:
        columns[schema.snapshot_date] = ["2000-01-01"] * rows
    for feature in schema.features:
        columns[feature.name] = [values[feature.kind]] * rows
    return pd.DataFrame(columns)


def flat_metrics(metrics: pd.DataFrame) -> dict[str, float]:
    """Return an evaluation's metrics under one name each.

    Examples
    --------
    >>> row = {"name": "auc", "target": "retained", "estimate": 0.7, "low": 0.6, "high": 0.8}
    >>> flat_metrics(pd.DataFrame([row]))["retained/auc_low"]
    0.6
    """
    flat: dict[str, float] = {}
    for row in metrics.to_dict("records"):
        name = f"{row['target']}/{row['name']}"
        values = {name: row["estimate"]}
        values |= {f"{name}_{part}": row.get(part, np.nan) for part in ("low", "high", "logistic")}
        flat |= {key: float(value) for key, value in values.items() if pd.notna(value) and np.isfinite(value)}
    return flat


def _flat_gaps(gaps: pd.DataFrame) -> dict[str, float]:
    known = gaps.dropna(subset=["gap"]).to_dict("records")
    return {f"{row['target']}/{row['name']}_{part}": row[part] for row in known for part in ("folds", "gap")}


def model_card(model: IcpModel, metrics: pd.DataFrame) -> str:
    """Return a short model card in Markdown: data, quality, profile, and what it isn't for."""
    facts = model.facts
    lines = ["# Ideal customer profile model", "", "## Data"]
    lines.append(f"- {facts['accounts']} accounts, {facts['rows']} account snapshots")
    if facts["first_snapshot"] is not None:
        lines.append(
            f"- snapshots {facts['first_snapshot']} to {facts['last_snapshot']}, "
            f"horizon {facts['horizon_months']} months"
        )
    for name, target in facts["targets"].items():
        lines.append(f"- {name}: base rate {target['base_rate']:.1%} of {target['rows']} rows")
    skipped = facts["skipped_targets"].items()
    lines += [f"- {name} is not modelled: {markdown_safe(why)}" for name, why in skipped]
    lines += [f"- dataset fingerprint `{facts['dataset_fingerprint']}`", "", "## Quality on unseen accounts"]
    lines += ["| target | metric | estimate | 90 % interval | n |", "|---|---|---|---|---|"]
    for row in metrics[metrics["name"].isin(["auc", "log_loss", "brier", "calibration_slope"])].to_dict(
        "records"
    ):
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        lines.append(f"| {row['target']} | {row['name']} | {row['estimate']:.3f} | {interval} | {row['n']} |")
    if model.profile is not None:
        lines += ["", "## Profile", fenced(model.profile.to_text())]
    lines += [
        "",
        "## Use",
        "Ranks companies, not persons, by how past accounts like them fared. "
        "The traits are associations: they don't say what would happen if an account were changed.",
    ]
    return "\n".join(lines) + "\n"
