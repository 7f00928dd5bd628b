"""Settings of a run, read from one TOML file: every key is known, typed and in range, or it's refused.

A misspelt key that is silently ignored trains the wrong model for months; so it's an error, and the
message names the nearest key that exists.
"""

from __future__ import annotations

import reprlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from icp_ml import parameters
from icp_ml.errors import ConfigError
from icp_ml.settings import section, unknown

OBJECTIVES = ("probability", "hazard")
MOST_BYTES = 1_000_000
QUARTER_ENDS = ((3, 31), (6, 30), (9, 30), (12, 31))


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Section ``[data]``: which tables, which past days, what counts as a success.

    Parameters
    ----------
    source
        Folder of tables (``accounts.csv`` ...). Relative to the folder of the TOML file.
    snapshot_first, snapshot_last
        First and last training day; all calendar quarter ends between them, both included, are snapshots.
    snapshot_dates
        The training days themselves, instead of first and last.
    horizon_months
        Months after a snapshot within which the outcome is read; at least 1.
    test_from
        First snapshot that only judges and never trains. None: chosen by the retraining.
    observed_until
        Last day the tables know of. None: read from the tables.
    expansion_tolerance
        Expanded means ending ARR ≥ starting ARR × (1 + this); a share, 0.05 is 5 %.
    post_sale
        Whether usage, tickets, tenure and discount may enter the model; then it can't score prospects.
    technology_grace_days
        Days after ``last_seen`` during which a tool still counts as in use.
    """

    source: str = ""
    snapshot_first: date | None = None
    snapshot_last: date | None = None
    snapshot_dates: tuple[date, ...] = ()
    horizon_months: int = 12
    test_from: date | None = None
    observed_until: date | None = None
    expansion_tolerance: float = 0.05
    post_sale: bool = False
    technology_grace_days: int = 0


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Section ``[model]``: how a model is trained and scored.

    Parameters
    ----------
    seed
        Seed of everything random.
    reasons
        Reasons and risks per scored account.
    objective
        ``"probability"`` learns retention from finished windows, ``"hazard"`` also from every month known of
        windows that aren't over.
    allow_leaks
        Features that may separate an outcome, because you know why they do.
    rising, falling
        Numeric or yes/no features with which no chance may fall, or rise.
    """

    seed: int = 0
    reasons: int = 3
    objective: str = "probability"
    allow_leaks: tuple[str, ...] = ()
    rising: tuple[str, ...] = ()
    falling: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrackingConfig:
    """Section ``[tracking]``: where MLflow keeps runs and versions.

    An empty ``tracking_uri`` means a SQLite store ``mlflow.db`` in the output folder. ``patience_seconds`` is
    how long the store is waited for, over all calls of a command together.
    """

    experiment: str = "icp"
    model_name: str = "icp"
    tracking_uri: str = ""
    patience_seconds: float = 45.0


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """Section ``[output]``: the folder for what a run writes. Relative to the folder of the TOML file."""

    folder: str = "icp_out"


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a run; the sections, and flat names for the line that reads them.

    Parameters
    ----------
    data, model, tracking, output
        The sections of the file.
    base
        Folder that relative paths start from.

    Examples
    --------
    >>> from datetime import date
    >>> data = DataConfig(snapshot_first=date(2024, 1, 1), snapshot_last=date(2024, 6, 30))
    >>> [str(day) for day in Config(data=data).snapshot_dates]
    ['2024-03-31', '2024-06-30']
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    base: Path = Path()

    def __post_init__(self) -> None:
        _check_ranges(self)

    @property
    def snapshot_dates(self) -> tuple[date, ...]:
        """Training days in order: those listed, else the quarter ends in the range; empty when unset."""
        if self.data.snapshot_dates:
            return tuple(sorted(set(self.data.snapshot_dates)))
        first, last = self.data.snapshot_first, self.data.snapshot_last
        if first is None or last is None:
            return ()
        days = (date(year, *end) for year in range(first.year, last.year + 1) for end in QUARTER_ENDS)
        return tuple(day for day in days if first <= day <= last)

    @property
    def horizon_months(self) -> int:
        """Months after a snapshot within which the outcome is read."""
        return self.data.horizon_months

    @property
    def test_from(self) -> date | None:
        """First snapshot that only judges."""
        return self.data.test_from

    @property
    def observed_until(self) -> date | None:
        """Last day the tables know of; None is read from the tables."""
        return self.data.observed_until

    @property
    def expansion_tolerance(self) -> float:
        """Growth from which an account counts as expanded, as a share."""
        return self.data.expansion_tolerance

    @property
    def post_sale(self) -> bool:
        """Whether what is known only after the sale may enter the model."""
        return self.data.post_sale

    @property
    def technology_grace_days(self) -> int:
        """Days after ``last_seen`` during which a tool counts as in use."""
        return self.data.technology_grace_days

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        return self.model.seed

    @property
    def reasons(self) -> int:
        """Reasons and risks per scored account."""
        return self.model.reasons

    @property
    def objective(self) -> str:
        """What retention is learnt from: "probability" or "hazard"."""
        return self.model.objective

    @property
    def allow_leaks(self) -> tuple[str, ...]:
        """Features that may separate an outcome."""
        return self.model.allow_leaks

    @property
    def experiment(self) -> str:
        """MLflow experiment."""
        return self.tracking.experiment

    @property
    def model_name(self) -> str:
        """Registered model in MLflow."""
        return self.tracking.model_name

    @property
    def patience_seconds(self) -> float:
        """Seconds for which the tracking store is waited for."""
        return self.tracking.patience_seconds

    @property
    def source(self) -> Path:
        """Folder of the input tables.

        Raises
        ------
        ConfigError
            No source is set.
        """
        if not self.data.source:
            raise ConfigError(
                "expected a folder of tables, found no [data] source: name one in the TOML file, "
                'such as source = "crm"',
                key="data.source",
            )
        return self.base / self.data.source

    @property
    def output_folder(self) -> Path:
        """Folder for what a run writes."""
        return self.base / self.output.folder

    @property
    def tracking_uri(self) -> str:
        """Address of the MLflow store; SQLite files are relative to the folder of the TOML file."""
        given = self.tracking.tracking_uri
        if not given:
            return f"sqlite:///{self.output_folder / 'mlflow.db'}"
        head, mark, path = given.partition("sqlite:///")
        return f"{mark}{self.base / path}" if mark and not head else given


def load_config(path: str | Path) -> Config:
    """Read and check a TOML file of settings.

    Parameters
    ----------
    path
        The file, usually ``icp.toml``. Every section and key may be left out.

    Returns
    -------
    The settings; relative paths in them start from the file's folder.

    Raises
    ------
    ConfigError
        The file is missing or isn't TOML; a section or key is unknown; a value has the wrong type or range.
    """
    if not isinstance(path, str | Path):
        raise ConfigError(f"expected the path of a TOML file, found {type(path).__name__}: give icp.toml")
    file = Path(path)
    try:
        found = file.is_file()
    except OSError:  # a name that no file can have
        found = False
    if not found:
        raise ConfigError(
            f"expected a TOML file, found nothing at {file}: give the path of icp.toml", path=str(file)
        )
    try:
        with file.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise ConfigError(
                f"expected settings in {file}, found more than {MOST_BYTES:,} bytes: is it icp.toml?"
            )
        content = tomllib.loads(raw.decode("utf-8-sig").replace("\r\n", "\n"))
    except (ValueError, OSError) as error:
        raise ConfigError(f"expected TOML in {file}, found: {error}", path=str(file)) from error
    except RecursionError as error:
        raise ConfigError(
            f"expected TOML in {file}, found lists in lists in lists", path=str(file)
        ) from error
    return parse_config(content, base=file.parent)


def parse_config(content: Mapping[str, Any], *, base: Path = Path()) -> Config:
    """Check settings that are already parsed.

    Parameters
    ----------
    content
        Section name → key → value, as ``tomllib`` returns it.
    base
        Folder that relative paths start from.

    Raises
    ------
    ConfigError
        A section or key is unknown, or a value has the wrong type or range.

    Examples
    --------
    >>> parse_config({"model": {"seed": 7}}).seed
    7
    >>> parse_config({"model": {"sed": 7}})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    icp_ml.errors.ConfigError: unknown key 'sed' in [model]; did you mean 'seed'? Known: ..., seed
    """
    sections: dict[str, type] = {
        "data": DataConfig,
        "model": ModelConfig,
        "tracking": TrackingConfig,
        "output": OutputConfig,
    }
    if not isinstance(content, Mapping):
        raise ConfigError(f"expected sections with their keys, found {type(content).__name__}")
    for name, values in content.items():
        if name not in sections:
            raise unknown(name, list(sections), what="section", where="the file")
        if not isinstance(values, Mapping):
            raise ConfigError(f"expected [{name}] to be a section, found {reprlib.repr(values)}", key=name)
    chosen = {name: section(kind, name, content.get(name, {})) for name, kind in sections.items()}
    return Config(**chosen, base=base)


def _check_ranges(config: Config) -> None:
    """Refuse values that are of the right type but mean nothing."""
    data = config.data
    for key, value, least, most in (
        ("data.horizon_months", data.horizon_months, 1, parameters.MOST_MONTHS),
        ("data.technology_grace_days", data.technology_grace_days, 0, parameters.MOST_DAYS),
        ("model.reasons", config.model.reasons, 0, parameters.MOST_REASONS),
        ("model.seed", config.model.seed, 0, parameters.MOST_SEED),
    ):
        parameters.whole(key, value, least, most)
    if not 0 < config.tracking.patience_seconds <= 86_400:
        raise ConfigError(
            "expected tracking.patience_seconds above 0 and up to 86400 (a day), "
            f"found {config.tracking.patience_seconds}",
            key="tracking.patience_seconds",
            found=config.tracking.patience_seconds,
        )
    if config.model.objective not in OBJECTIVES:
        raise ConfigError(
            f"expected model.objective among {list(OBJECTIVES)}, found {config.model.objective!r}",
            key="model.objective",
            found=config.model.objective,
        )
    if not 0 <= data.expansion_tolerance < 10:
        raise ConfigError(
            "expected data.expansion_tolerance to be a share from 0 to 10 (0.05 means 5 % growth), "
            f"found {data.expansion_tolerance}",
            key="data.expansion_tolerance",
            found=data.expansion_tolerance,
        )
    first, last = data.snapshot_first, data.snapshot_last
    if (first is None) != (last is None) or (first is not None and data.snapshot_dates):
        raise ConfigError(
            "expected either snapshot_first and snapshot_last, or snapshot_dates in [data], "
            f"found snapshot_first={first}, snapshot_last={last}, snapshot_dates: {len(data.snapshot_dates)}",
            key="data.snapshot_first",
        )
    if first is not None and last is not None and not config.snapshot_dates:
        raise ConfigError(
            f"expected a quarter end from snapshot_first to snapshot_last, found none from {first} to {last}",
            key="data.snapshot_first",
            found=(first, last),
        )
