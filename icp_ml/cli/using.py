"""Commands that use a model: profile, score, report."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from icp_ml.cli.group import Day, Say, echo, examples, model_options, progress, read_config, read_model
from icp_ml.cli.learning import measured, read_split
from icp_ml.errors import ConfigError, NotEnoughDataError, TableError
from icp_ml.writing import check_no_input, replacing

if TYPE_CHECKING:
    import pandas as pd

    from icp_ml.config import Config
    from icp_ml.insight.controls import Controls
    from icp_ml.serve.icpmodel import IcpModel

controls_option = click.option(
    "--controls", is_flag=True, help="Also profile outcomes in which nothing is there; needs --config; slow."
)
SCORES_FILE = "scores.parquet"
DEFAULT_REASONS = 3
SAID_EVERY = 20


@click.command(
    epilog=examples(
        "icp-ml profile --model bundle/",
        "icp-ml profile --config icp.toml --json > profile.json",
        "icp-ml profile --config icp.toml --controls",
    )
)
@model_options
@click.option("--json", "as_json", is_flag=True, help="Write the whole profile as JSON.")
@click.option(
    "--width", type=click.IntRange(min=60), default=100, show_default=True, help="Characters per line."
)
@controls_option
def profile(
    model: str | None,
    tracking_uri: str | None,
    config_path: Path | None,
    as_json: bool,
    width: int,
    controls: bool,
) -> None:
    """Show who is ideal, with the evidence, on one screen."""
    config = read_config(config_path)
    loaded = read_model(model, tracking_uri, config)
    if loaded.profile is None:
        raise NotEnoughDataError("expected a model with a profile, found one without: train it anew")
    tried = _controls(config, progress()) if controls else None
    if as_json:
        state = loaded.profile.to_state() | ({} if tried is None else {"controls": tried.to_state()})
        echo(json.dumps(state, indent=1))
        return
    echo(loaded.profile.to_text(width))
    if tried is not None:
        echo(f"\n{tried.to_text()}")


@click.command(
    epilog=examples(
        "icp-ml score --config icp.toml",
        "icp-ml score --model bundle/ --data crm/ --as-of 2025-09-30 --out scores/",
        'icp-ml score --model models:/icp@champion --features "base/*.parquet" --out scores/ --resume',
        "icp-ml score --model bundle/ --tables warehouse/ --as-of 2025-09-30 --out scores/",
    )
)
@model_options
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of tables. Default: the source of --config."
)
@click.option(
    "--features",
    help='Parquet or csv files of features instead of tables: a folder or a glob such as "base/*.parquet".',
)
@click.option(
    "--tables",
    type=click.Path(path_type=Path),
    help="Folder of parquet tables too large for memory; read from disk, bucket by bucket of accounts.",
)
@click.option("--as-of", type=Day(), help="Day to describe the accounts on. Default: today.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the scores. Default: scores in the output folder.",
)
@click.option(
    "--reasons", type=click.IntRange(min=0), help="Reasons and risks per account. Default: 3, or as set."
)
@click.option("--overwrite", is_flag=True, help="Replace scores that are already there.")
@click.option("--resume", is_flag=True, help="Keep finished parts of an interrupted run; needs --features.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["parquet", "csv"]),
    default="parquet",
    show_default=True,
    help="Of the parts; csv needs --features or --tables.",
)
@click.option(
    "--partition-by",
    type=click.Choice(["tier", "icp_match", "applicability"]),
    help="Put parts into folders such as tier=A; needs --features or --tables.",
)
def score(
    model: str | None,
    tracking_uri: str | None,
    config_path: Path | None,
    data: Path | None,
    features: str | None,
    tables: Path | None,
    as_of: date | None,
    out: Path | None,
    reasons: int | None,
    overwrite: bool,
    resume: bool,
    kind: str,
    partition_by: str | None,
) -> None:
    """Score accounts: chances, tier, reasons, risks."""
    say = progress()
    config = read_config(config_path)
    if features is not None and (data is not None or as_of is not None):
        raise ConfigError("expected --features or --data with --as-of, found both: features carry their day")
    if tables is not None and (data is not None or features is not None or resume):
        raise ConfigError("expected --tables alone, found it beside --data, --features or --resume: name one")
    whole = features is None and tables is None
    if (resume and features is None) or (whole and (kind != "parquet" or partition_by)):
        raise ConfigError(
            "expected --features with --resume, --format csv or --partition-by, found none: tables have no "
            "parts"
        )
    source = data or (config.source if config is not None and features is None else None)
    if source is None and whole:
        raise ConfigError("expected --data, --features or --config, found none: name what to score")
    folder = out or (config.output_folder / "scores" if config is not None else Path("scores"))
    count = reasons if reasons is not None else config.reasons if config is not None else DEFAULT_REASONS
    if whole:
        from icp_ml.data.contracts import CONTRACTS

        check_no_input(free_file(folder, overwrite=overwrite), Path(str(source)), CONTRACTS)
    loaded = read_model(model, tracking_uri, config)
    say(f"model {loaded.version or model}")
    settings: dict[str, Any] = {"reasons": count, "overwrite": overwrite, "format": kind}
    settings["partition_by"] = partition_by
    if features is not None:
        _score_files(loaded, features, folder, {**settings, "resume": resume}, say)
        return
    grace = config.technology_grace_days if config is not None else 0
    day = as_of or datetime.now(tz=UTC).date()
    if tables is not None:
        more = {"as_of": day, "technology_grace_days": grace}
        _score_large(loaded, tables, folder, {**settings, **more}, say)
        return
    scores = score_tables(loaded, Path(str(source)), day, reasons=count, grace_days=grace, say=say)
    echo(tiers_text(scores))
    echo(f"\nscores in {write_scores(scores, folder, overwrite=overwrite)}")


@click.command(
    epilog=examples("icp-ml report --config icp.toml", "icp-ml report --model bundle/ --out icp_report.html")
)
@model_options
@click.option(
    "--out", type=click.Path(path_type=Path), help="HTML file. Default: icp_report.html in the output folder."
)
@controls_option
def report(
    model: str | None, tracking_uri: str | None, config_path: Path | None, out: Path | None, controls: bool
) -> None:
    """Write profile and quality as one HTML page.

    With --config the model is measured again on the newest snapshots; without it the page says that nothing
    was measured.
    """
    from icp_ml.view.report import write_report

    say = progress()
    config = read_config(config_path)
    loaded = read_model(model, tracking_uri, config)
    evaluation, rejects = (None, None) if config is None else measured(loaded, config, say)
    file = out or (config.output_folder if config is not None else Path()) / "icp_report.html"
    tried = _controls(config, say) if controls else None
    written = write_report(file, loaded, evaluation=evaluation, rejects=rejects, controls=tried)
    echo(f"report in {written}")


def _controls(config: Config | None, say: Say) -> Controls:
    from icp_ml.insight.controls import negative_controls

    if config is None:
        raise ConfigError("expected --config with --controls, found none: the controls need the accounts")
    known = read_split(config, say)[2]
    return negative_controls(
        known, seed=config.seed, progress=lambda done, total: say(f"control {done} of {total} profiled")
    )


def score_tables(
    model: IcpModel, source: Path, day: date, *, reasons: int, grace_days: int, say: Say
) -> pd.DataFrame:
    """Read tables, describe every account on a day with the model's own features, and score them."""
    from icp_ml.data.features import build_features
    from icp_ml.data.tables import read_tables

    say(f"reading tables from {source}")
    tables, rejects = read_tables(source)
    if len(rejects):
        say(f"refused {len(rejects):,} rows")
    described = build_features(tables, as_of=day, technology_grace_days=grace_days, schema=model.schema)
    say(f"scoring {len(described):,} accounts as of {day}")
    return model.score(described, reasons=reasons)


def write_scores(scores: pd.DataFrame, folder: Path, *, overwrite: bool) -> Path:
    """Write a score table to a folder, not over another one unless told to; that stays until this is whole.

    Raises
    ------
    ConfigError
        Scores are already there.
    OutputError
        The system refuses to write.
    TableError
        The file doesn't have the rows of the table.
    """
    import pyarrow.parquet as pq

    file = free_file(folder, overwrite=overwrite)
    with replacing(file) as fresh:
        scores.to_parquet(fresh, index=False)
        found = pq.read_metadata(fresh).num_rows
        if found != len(scores):
            raise TableError(
                f"expected {len(scores)} rows in {file.name}, found {found}: score them again",
                expected=len(scores),
                found=found,
            )
    return file


def free_file(folder: Path, *, overwrite: bool) -> Path:
    """Return where the scores go, unless scores are there that may not be replaced.

    Raises
    ------
    ConfigError
        Scores are already there, or parts of another run, with which a reader would take them together.
    """
    from icp_ml.serve.sources import RUN_FILE

    file = folder / SCORES_FILE
    if (folder / RUN_FILE).exists():
        raise ConfigError(
            f"expected no parts of another run in {folder}, found {RUN_FILE}: name another --out",
            folder=str(folder),
        )
    if file.exists() and not overwrite:
        raise ConfigError(
            f"expected no scores in {folder}, found {file.name}: name another --out or --overwrite"
        )
    return file


def tiers_text(scores: pd.DataFrame) -> str:
    """Write how many accounts are in each tier, and how many are unlike what was learnt from."""
    tiers = scores["tier"].value_counts().sort_index()
    counts = ", ".join(f"{tier}: {n:,}" for tier, n in tiers.items())
    outside = int((scores["applicability"] == "out").sum())
    return f"{len(scores):,} accounts scored; tiers {counts}; {outside:,} unlike those learnt from"


def _score_files(model: IcpModel, features: str, folder: Path, settings: dict[str, Any], say: Say) -> None:
    from icp_ml.serve.stream import score_parquet

    run = score_parquet(model, features, folder, progress=_teller("scored", "accounts", say), **settings)
    kept = f", {run.kept} of them kept" if run.kept else ""
    echo(f"{run.rows:,} accounts scored; {len(run.files)} files in {run.path}{kept}")


def _score_large(model: IcpModel, tables: Path, folder: Path, settings: dict[str, Any], say: Say) -> None:
    from icp_ml.serve.rawtables import score_tables as score_large

    run = score_large(
        model,
        tables,
        folder,
        progress=_teller("scored", "accounts", say),
        splitting=_teller("split", "rows of tables", say),
        **settings,
    )
    refused = int(run.rejects["n"].sum())
    said = f" (refused {refused:,} rows of the tables)" if refused else ""
    scores = run.scores
    echo(f"{scores.rows:,} accounts scored{said}; {len(scores.files)} files in {scores.path}")


def _teller(verb: str, things: str, say: Say) -> Callable[[int, int], None]:
    """Return a progress function that speaks up at every twentieth of the way."""
    from icp_ml.serve.stream import pace_text

    said = [0]
    start: list[float] = []

    def tell(done: int, total: int) -> None:
        start[:] = start or [monotonic()]
        part = SAID_EVERY * done // max(total, 1)
        if part > said[0]:
            said[0] = part
            say(f"{verb} {pace_text(done, total, monotonic() - start[0], things)}")

    return tell
