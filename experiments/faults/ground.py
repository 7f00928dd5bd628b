"""What the jobs stand on: raw tables, features as parquet and csv, two models; made once, in a child."""

from __future__ import annotations

import os
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")

import numpy as np
import pandas as pd
from forked import run

import icp_ml as icp
from icp_ml.config import Config, load_config

AS_OF = "2025-09-30"
PARTS = 3
ROWS = 40
TOOLS = ("Salesforce", "HubSpot", "Segment", "Snowflake", "Jira")


@dataclass(frozen=True)
class Ground:
    """Where everything lies.

    Parameters
    ----------
    folder
        Holds ``crm`` (csv), ``warehouse`` (parquet), ``base`` and ``base_csv`` (features in parts), ``new``
        and ``old`` (bundles) and ``icp.toml``.
    """

    folder: Path

    @property
    def new(self) -> Path:
        return self.folder / "new"

    @property
    def old(self) -> Path:
        return self.folder / "old"

    @property
    def settings(self) -> Path:
        return self.folder / "icp.toml"

    def config(self) -> Config:
        return load_config(self.settings)


def tables(accounts: int = 240, seed: int = 11) -> dict[str, pd.DataFrame]:
    """Yearly terms until a day; Fintech accounts and those with Salesforce renew more often."""
    rng = np.random.default_rng(seed)
    rows, terms, stacks = [], [], []
    known = pd.Timestamp(AS_OF)
    for number in range(accounts):
        account, industry = f"a{number:04d}", str(rng.choice(["Fintech", "Retail", "Health"]))
        rows.append({"account_id": account, "industry": industry, "employees": int(rng.integers(10, 1000))})
        tools = [str(tool) for tool in rng.choice(TOOLS, rng.integers(1, 4), replace=False)]
        stacks += [{"account_id": account, "technology": tool} for tool in tools]
        start, arr = pd.Timestamp("2021-01-01") + pd.Timedelta(days=int(rng.integers(0, 900))), 1000.0
        stays = 0.5 + 0.25 * (industry == "Fintech") + 0.2 * ("Salesforce" in tools)
        while start < known:
            end = start + pd.Timedelta(days=365)
            terms.append({"account_id": account, "start_date": start, "end_date": end, "arr": arr})
            if rng.random() > stays:
                break
            start, arr = end, round(arr * float(rng.choice([1.0, 1.3])), 2)
    return {
        "accounts": pd.DataFrame(rows),
        "subscriptions": pd.DataFrame(terms),
        "technologies": pd.DataFrame(stacks),
    }


def lay(folder: Path, *, small: bool = False) -> Ground:
    """Make everything in a child, so that this process never starts a pool of threads before it forks.

    ``small`` trains one quick model instead of two; the older one is then the same with another version.
    """
    ground = Ground(folder)
    if not (folder / "ready").exists():
        folder.mkdir(parents=True, exist_ok=True)
        end = run(lambda: _lay(ground, small=small), folder / "said.txt", folder, 900.0)
        if end.code:
            raise SystemExit(end.said[-3000:])
        (folder / "ready").touch()
    return ground


def _lay(ground: Ground, *, small: bool) -> None:
    from icp_ml.serve.retrain import dataset_of

    warnings.simplefilter("ignore")
    folder, raw = ground.folder, tables()
    for name, table in raw.items():
        for kind in ("crm", "warehouse"):
            (folder / kind).mkdir(exist_ok=True)
        table.to_csv(folder / "crm" / f"{name}.csv", index=False)
    read, _ = icp.read_tables(raw)
    for name in raw:
        read.required(name).to_parquet(folder / "warehouse" / f"{name}.parquet")
    days = ", ".join(day.isoformat() for day in icp.quarter_ends("2022-09-30", "2024-09-30"))
    ground.settings.write_text(
        f'[data]\nsource = "crm"\nsnapshot_dates = [{days}]\nobserved_until = {AS_OF}\n', encoding="utf-8"
    )
    if small:
        new = old = icp.train(_plain(read), profile=False, n_jobs=1)
    else:
        dataset = dataset_of(read, ground.config())
        known, _ = icp.split_out_of_time(dataset, test_from=dataset.labels["snapshot_date"].max())
        new = icp.train(known, n_jobs=1)
        old = icp.train(known, seed=8, profile=False, n_jobs=1)
    icp.save(replace(new, version="icp/2"), folder / "new")
    icp.save(replace(old, version="icp/1"), folder / "old")
    features = icp.build_features(read, as_of=AS_OF, schema=new.schema)
    _write_parts(features.head(PARTS * ROWS), folder)


def _plain(read: icp.Tables) -> icp.Dataset:
    """Label accounts by their last term, which makes one row of each and one target."""
    frame = icp.build_features(read, as_of=AS_OF)
    last = read.required("subscriptions").groupby("account_id")["end_date"].max()
    stayed = frame["account_id"].map(last).ge(pd.Timestamp(AS_OF))
    return icp.Dataset.from_frame(
        frame.drop(columns=["as_of"]).assign(stayed=stayed),
        account_id="account_id",
        labels={"retained": "stayed"},
        technologies=["technologies"],
    )


def _write_parts(features: pd.DataFrame, folder: Path) -> None:
    for kind in ("base", "base_csv"):
        (folder / kind).mkdir(exist_ok=True)
    text = features.assign(
        **{
            name: features[name].map(
                lambda tools: ";".join(tools) if isinstance(tools, list | tuple | np.ndarray) else ""
            )
            for name in features
            if name == "technologies"
        }
    )
    for number in range(PARTS):
        rows = slice(number * ROWS, (number + 1) * ROWS)
        features.iloc[rows].to_parquet(
            folder / "base" / f"accounts-{number}.parquet",
            row_group_size=20,
            coerce_timestamps="us",
            allow_truncated_timestamps=True,
        )
        text.iloc[rows].to_csv(folder / "base_csv" / f"accounts-{number}.csv", index=False)


def warm(ground: Ground) -> None:
    """Import and compile what a job needs, so that a forked one begins at once; start no pool of threads."""
    warnings.simplefilter("ignore")
    import mlflow.pyfunc  # noqa: F401
    from mlflow.store.model_registry import sqlalchemy_store as registry_store  # noqa: F401
    from mlflow.store.tracking import sqlalchemy_store  # noqa: F401

    import icp_ml.adapters.mlflow
    import icp_ml.cli
    import icp_ml.serve.rawtables
    import icp_ml.serve.retrain
    import icp_ml.view.keep
    import icp_ml.view.report
    from icp_ml.model import estimator  # noqa: F401

    with tempfile.TemporaryDirectory() as name:
        # n_jobs=1: what was compiled is inherited by a fork, a pool of threads is not
        ready = {str(path): icp.load(path) for path in (ground.new, ground.old)}
        model = ready[str(ground.new)]
        for kind, source in (("parquet", "base"), ("csv", "base_csv")):
            icp.score_parquet(model, ground.folder / source, Path(name) / kind, n_jobs=1, format=kind)
        if model.profile is not None:
            icp_ml.view.report.write_report(Path(name) / "report.html", model)
    whole = icp_ml.adapters.mlflow.load

    def load(address: str, **more: object) -> icp.IcpModel:
        return ready[address] if address in ready else whole(address, **more)

    # reading a bundle is what most of a small job's time goes to, and it writes nothing
    icp_ml.adapters.mlflow.load = load
