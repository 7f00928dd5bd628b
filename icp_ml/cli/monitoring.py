"""The command that looks between labels: monitor."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from icp_ml.cli.group import Day, Say, echo, examples, model_options, progress, read_config, read_model
from icp_ml.errors import ConfigError, NotEnoughDataError

if TYPE_CHECKING:
    import pandas as pd

    from icp_ml.config import Config
    from icp_ml.serve.icpmodel import IcpModel

ALARM = 3
Batch = tuple["pd.DataFrame", "pd.DataFrame | None"]


@click.command(
    epilog=examples(
        "icp-ml monitor --config icp.toml",
        "icp-ml monitor --config icp.toml --as-of 2024-09-30 --outcomes",
        "icp-ml monitor --model bundle/ --features quarter.parquet --labels renewals.csv --json",
    )
)
@model_options
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of tables. Default: the source of --config."
)
@click.option("--as-of", type=Day(), help="Day to describe the customers on. Default: today.")
@click.option("--outcomes", is_flag=True, help="Also hold the outcomes since --as-of against the estimate.")
@click.option(
    "--features",
    help='Parquet files of features instead of tables: a folder or a glob such as "q3/*.parquet".',
)
@click.option(
    "--labels",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Parquet or CSV file of outcomes known by now, with --features.",
)
@click.option("--json", "as_json", is_flag=True, help="Write all rows as JSON instead of sentences.")
@click.pass_context
def monitor(
    ctx: click.Context,
    model: str | None,
    tracking_uri: str | None,
    config_path: Path | None,
    data: Path | None,
    as_of: date | None,
    outcomes: bool,
    features: str | None,
    labels: Path | None,
    as_json: bool,
) -> None:
    """Watch drift and quality between labels.

    The customers of a day are compared with those that the model learnt from; how good their scores may be is
    estimated before outcomes are known and compared with them later.

    Ends with exit code 3 when there is an alarm, 0 when there is none.
    """
    from icp_ml.serve.monitor import monitor as look

    say = progress()
    config = read_config(config_path)
    _check_choice(features, labels, data, as_of, outcomes=outcomes)
    source = data or (config.source if config is not None and features is None else None)
    if source is None and features is None:
        raise ConfigError("expected --data, --features or --config, found none: name what to look at")
    loaded = read_model(model, tracking_uri, config)
    say(f"model {loaded.version or model}")
    if features is not None:
        batch, known = _from_files(features, labels, say)
    else:
        day = as_of or datetime.now(tz=UTC).date()
        batch, known = _from_tables(loaded, Path(str(source)), day, config, say, outcomes=outcomes)
    say(f"looking at {len(batch):,} accounts")
    found = look(loaded, batch, known)
    echo(json.dumps(found.to_state(), indent=1) if as_json else found.to_text())
    if found.alarm:
        ctx.exit(ALARM)


def _check_choice(
    features: str | None, labels: Path | None, data: Path | None, as_of: date | None, *, outcomes: bool
) -> None:
    if features is not None and (data is not None or as_of is not None or outcomes):
        raise ConfigError(
            "expected --features or tables (--data, --as-of, --outcomes), found both: "
            "features carry their day"
        )
    if labels is not None and features is None:
        raise ConfigError("expected --features with --labels, found none: with tables use --outcomes")
    if outcomes and as_of is None:
        raise ConfigError("expected --as-of with --outcomes, found none: name a day whose horizon is over")


def _from_files(features: str, labels: Path | None, say: Say) -> Batch:
    import pandas as pd

    from icp_ml.serve.stream import find_files

    files = find_files(features)
    say(f"reading {len(files)} files of features")
    batch = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    if labels is None:
        return batch, None
    if not labels.is_file():
        raise ConfigError(f"expected a file of outcomes at {labels}, found none: check the path")
    if labels.suffix == ".parquet":
        return batch, pd.read_parquet(labels)
    known = pd.read_csv(labels, dtype=str)
    answers = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
    for name in ("retained", "expanded"):
        if name in known:
            folded = known[name].str.strip().str.casefold()
            known[name] = folded.map(answers).astype(object).where(folded.isin(list(answers)), known[name])
    return batch, known


def _from_tables(
    model: IcpModel, source: Path, day: date, config: Config | None, say: Say, *, outcomes: bool
) -> Batch:
    """Describe the customers of a day, and label them if their outcomes are asked for."""
    from icp_ml.data.dataset import build_dataset
    from icp_ml.data.features import build_features
    from icp_ml.data.labels import Ledger
    from icp_ml.data.tables import read_tables
    from icp_ml.data.windows import to_day

    say(f"reading tables from {source}")
    tables, rejects = read_tables(source)
    if len(rejects):
        say(f"refused {len(rejects):,} rows")
    known = None
    if outcomes:
        known = build_dataset(
            tables,
            snapshot_dates=day,
            horizon_months=int(model.facts.get("horizon_months") or 12),
            expansion_tolerance=config.expansion_tolerance if config is not None else 0.05,
            observed_until=config.observed_until if config is not None else None,
        ).labels
        customers = known["account_id"].tolist()
    else:
        ledger = Ledger.of(tables.required("subscriptions"))
        customers = ledger.accounts[ledger.arr_on(to_day(day)) > 0].tolist()
    if not customers:
        raise NotEnoughDataError(f"expected customers on {day}, found none: name a day with revenue", day=day)
    grace = config.technology_grace_days if config is not None else 0
    batch = build_features(
        tables, as_of=day, technology_grace_days=grace, schema=model.schema, accounts=customers
    )
    return batch, known
