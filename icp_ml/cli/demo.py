"""The command ``demo``: the whole line on a bundled account base whose truth is known."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icp_ml.cli.group import Say, echo, examples, progress
from icp_ml.errors import ConfigError
from icp_ml.writing import make_folder, write_file

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    import pandas as pd

    from icp_ml.config import Config
    from icp_ml.data.tables import Tables
    from icp_ml.serve.icpmodel import IcpModel
    from icp_ml.serve.retrain import Outcome

TRUTH = "truth.json"
SETTINGS = "icp.toml"
BASE = "crm"


@click.command(epilog=examples("icp-ml demo --out demo_out"))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo_out"),
    show_default=True,
    help="Folder for everything that is written.",
)
def demo(out: Path) -> None:
    """Run the whole line on a bundled account base.

    It ends with a registered model, scores, a report and the profile. The base is simulated with planted
    traits, so the profile can be held against the truth.
    """
    from icp_ml.adapters.mlflow import MlflowTracker
    from icp_ml.cli.learning import metrics_text, read_source
    from icp_ml.config import load_config
    from icp_ml.serve.retrain import retrain
    from icp_ml.view.keep import files_beside_model
    from icp_ml.view.report import write_report

    say = progress()
    config = load_config(lay_out(out))
    tables, rejects = read_source(config, say)
    say("training, measuring and registering; this is the long step")
    tracker = MlflowTracker(
        config.experiment,
        config.model_name,
        config.tracking_uri,
        patience_seconds=config.patience_seconds,
    )
    outcome = retrain(tables, config, tracker, draw=files_beside_model(rejects))
    say(f"registered {outcome.version}")
    scores = score_base(outcome.model, tables, config, say)
    page = write_report(
        out / "icp_report.html", outcome.model, evaluation=outcome.evaluation, rejects=rejects
    )
    say(f"report written to {page}")
    echo(outcome.model.profile.to_text() if outcome.model.profile is not None else "no profile")
    echo("\n" + metrics_text(outcome.evaluation))
    echo("\n" + against_truth(outcome.model))
    echo("\n" + closing(out, outcome, scores, config))


def lay_out(out: Path) -> Path:
    """Copy the bundled tables and the settings to the output folder; return the path of the settings.

    Raises
    ------
    ConfigError
        Other files of these names are there, or the package was installed without its demo base.
    OutputError
        The system refuses to write.
    """
    source = files("icp_ml") / "demo"
    tables = sorted((item for item in _entries(source) if item.name != TRUTH), key=lambda item: item.name)
    if not tables:
        raise ConfigError(
            "expected the demo base in the package, found none: install icp-ml from a wheel or a clone"
        )
    settings = out / SETTINGS
    content = {out / BASE / item.name: item.read_bytes() for item in tables}
    content[settings] = (files("icp_ml.cli") / "demo.toml").read_bytes()
    make_folder(out / BASE)
    other = [file for file, data in content.items() if file.exists() and not _holds(file, data)]
    if other:
        raise ConfigError(
            f"expected a new folder or that of an earlier demo, found another {other[0].name} in "
            f"{other[0].parent}: name another --out",
            files=[str(file) for file in other[:5]],
        )
    for file, data in content.items():
        write_file(file, data)
    return settings


def _holds(file: Path, data: bytes) -> bool:
    return file.is_file() and file.read_bytes() == data


def score_base(model: IcpModel, tables: Tables, config: Config, say: Say) -> pd.DataFrame:
    """Score every account on the last day that the tables know of, and write ``scores.parquet``."""
    from icp_ml.cli.using import write_scores
    from icp_ml.data.censoring import last_day
    from icp_ml.data.features import build_features

    day = config.observed_until or last_day(tables)
    described = build_features(
        tables, as_of=day, technology_grace_days=config.technology_grace_days, schema=model.schema
    )
    say(f"scoring {len(described):,} accounts as of {day}")
    scores = model.score(described, reasons=config.reasons)
    write_scores(scores, config.output_folder, overwrite=True)
    return scores


def against_truth(model: IcpModel) -> str:
    """Compare the profile with the planted traits and write found, missed and false ones."""
    if model.profile is None:
        return "no profile to compare"
    truth = json.loads((files("icp_ml") / "demo" / TRUTH).read_text(encoding="utf-8"))
    compared = model.profile.compare(truth["traits"]).to_dict("records")
    lines = ["Profile against the planted truth"]
    for verdict in ("found", "missed", "false"):
        rows = [row for row in compared if row["verdict"] == verdict]
        lines.append(f"  {verdict} {len(rows)}")
        lines += [f"    {row['target']}: {row['trait']}{_remark(row, truth)}" for row in rows]
    return "\n".join(lines)


def _remark(row: dict[Any, Any], truth: dict[str, Any]) -> str:
    """Say of a found trait where its direction is wrong, and of a false one what it really goes with."""
    if row["verdict"] == "found":
        return "" if row["direction_agrees"] else "  (planted in the other direction)"
    if row["verdict"] == "missed":
        return ""
    tool = f"{row['feature']}:{str(row['trait']).removeprefix('uses ')}"
    planted = truth["proxies"].get(tool, truth["proxies"].get(row["feature"]))
    if planted is not None:
        return f"  (a stand-in for {planted.removeprefix('technologies:')})"
    return "  (goes with another feature)" if row["feature"] in truth["confounded"] else "  (luck)"


def closing(out: Path, outcome: Outcome, scores: pd.DataFrame, config: Config) -> str:
    """Say what was written, which version is the champion, and what to do next."""
    from icp_ml.cli.using import SCORES_FILE, tiers_text

    alias = "champion" if outcome.promoted else "challenger"
    settings = out / SETTINGS
    return "\n".join(
        [
            tiers_text(scores),
            "",
            f"model    models:/{config.model_name}@{alias} (version {outcome.version}; {outcome.reason})",
            f"store    {config.tracking_uri}",
            f"report   {out / 'icp_report.html'}",
            f"scores   {out / SCORES_FILE}",
            f"tables   {out / BASE} (what the input looks like)",
            "",
            "Next:",
            f"  icp-ml profile --config {settings}",
            f"  icp-ml retrain --config {settings}",
            f"  mlflow ui --backend-store-uri {config.tracking_uri}",
        ]
    )


def _entries(folder: Traversable) -> list[Traversable]:
    if not folder.is_dir():
        return []
    return [item for item in folder.iterdir() if item.is_file() and not item.name.startswith(("_", "."))]
