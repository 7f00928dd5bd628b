"""Commands that learn or measure: train, evaluate."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from icp_ml.cli.group import (
    Say,
    config_option,
    echo,
    examples,
    model_options,
    progress,
    read_config,
    read_model,
)
from icp_ml.errors import ConfigError

if TYPE_CHECKING:
    from icp_ml.config import Config
    from icp_ml.data.dataset import Dataset
    from icp_ml.data.rejects import Rejects
    from icp_ml.data.tables import Tables
    from icp_ml.model.evaluation import Evaluation
    from icp_ml.serve.icpmodel import IcpModel


@click.command(
    epilog=examples(
        "icp-ml train --config icp.toml --out bundle/",
    )
)
@config_option(required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the bundle. Default: bundle in the output folder.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Threads; the model is the same. Default: all.")
def train(config_path: Path, out: Path | None, jobs: int | None) -> None:
    """Train a model and save it as a folder.

    No registry is involved. The newest snapshots judge and don't train, as set by test_from.
    """
    from icp_ml.config import load_config
    from icp_ml.model.evaluation import evaluate as measure
    from icp_ml.serve.bundle import save
    from icp_ml.serve.configured import train_configured
    from icp_ml.serve.retrain import snapshot_days

    say = progress()
    config = load_config(config_path)
    tables, _, known, newest = read_split(config, say)
    say(f"training on {len(known):,} rows of {known.n_accounts:,} accounts")
    test_from = newest.labels["snapshot_date"].min().date()
    model = train_configured(
        tables,
        known,
        test_from,
        config,
        snapshot_dates=snapshot_days(tables, config),
        n_jobs=jobs or os.cpu_count(),
    )
    folder = out or config.output_folder / "bundle"
    save(model, folder)
    say("measuring on the newest snapshots")
    echo(metrics_text(measure(model, newest, seed=config.seed)))
    echo(f"\nmodel saved in {folder}\nnext: icp-ml profile --model {folder}")


@click.command(
    epilog=examples(
        "icp-ml evaluate --config icp.toml", "icp-ml evaluate --model bundle/ --config icp.toml --json"
    )
)
@model_options
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of a table.")
def evaluate(model: str | None, tracking_uri: str | None, config_path: Path | None, as_json: bool) -> None:
    """Measure a model on the newest snapshots.

    The base rate and a logistic regression stand beside it.
    """
    say = progress()
    config = read_config(config_path)
    if config is None:
        raise ConfigError("expected --config, found none: it names the tables to measure on")
    loaded = read_model(model, tracking_uri, config)
    evaluation, _ = measured(loaded, config, say)
    if as_json:
        echo(json.dumps(json.loads(evaluation.metrics.to_json(orient="records")), indent=1))
    else:
        echo(metrics_text(evaluation))


def read_source(config: Config, say: Say) -> tuple[Tables, Rejects]:
    """Read the tables of the settings and say what was refused."""
    from icp_ml.data.tables import read_tables

    say(f"reading tables from {config.source}")
    tables, rejects = read_tables(config.source)
    for row in rejects.counts().to_dict("records"):
        say(f"refused {row['n']:,} rows of {row['table']}: {row['rule']}")
    return tables, rejects


def read_split(config: Config, say: Say) -> tuple[Tables, Rejects, Dataset, Dataset]:
    """Read tables, build the dataset, split it where the settings say, else before the newest snapshot."""
    from icp_ml.data.splits import split_out_of_time
    from icp_ml.serve.retrain import dataset_of

    tables, rejects = read_source(config, say)
    say("building the dataset")
    dataset = dataset_of(tables, config)
    for line in dataset.summary().splitlines():
        say(line)
    test_from = config.test_from or dataset.labels["snapshot_date"].max().date()
    known, newest = split_out_of_time(dataset, test_from=test_from)
    return tables, rejects, known, newest


def measured(model: IcpModel, config: Config, say: Say) -> tuple[Evaluation, Rejects]:
    """Evaluate a model on the newest snapshots, and warn if it has seen later ones than it should have."""
    from icp_ml.model.evaluation import evaluate as measure

    _, rejects, known, newest = read_split(config, say)
    seen, allowed = model.facts.get("last_snapshot"), known.labels["snapshot_date"].max()
    if seen is not None and str(seen) > str(allowed.date()):
        say(f"warning: the model learnt from snapshots up to {seen}, so these figures flatter it")
    say(f"measuring on {len(newest):,} rows of {newest.n_accounts:,} accounts")
    return measure(model, newest, seed=config.seed), rejects


def metrics_text(evaluation: Evaluation) -> str:
    """Write the main measures as a table for the terminal, and what differs from the training."""
    from icp_ml.view.quality import gap_lines, quality_rows

    rows = quality_rows(evaluation)
    heads = {"target": "outcome", "name": "measure", "estimate": "model", "interval": "90 % interval"}
    heads |= {"logistic": "logistic", "base": "base rate", "n": "accounts"}
    table = [heads, *({key: row[key] for key in heads} for row in rows)]
    widths = {key: max(len(row[key]) for row in table) for key in heads}
    left = ("target", "name")
    lines = (
        "  ".join(f"{row[key]:{'<' if key in left else '>'}{widths[key]}}" for key in heads) for row in table
    )
    return "\n".join([*(line.rstrip() for line in lines), *gap_lines(evaluation)])
