"""A small simulated base that drifts, and jobs that retrain on it in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

import icp_ml as icp
from icp_ml.config import Config, DataConfig

TOOLS = ("Salesforce", "HubSpot", "Segment", "Snowflake", "Jira")
INDUSTRIES = ("Fintech", "Retail", "Health")
MARKER = "planted-customer-value"


def base(
    accounts: int = 200, *, until: str = "2025-09-30", turn: str = "2024-01-01", seed: int = 11
) -> dict[str, pd.DataFrame]:
    """Yearly terms of accounts as known on a day; Fintech renews more often before ``turn``, Retail after."""
    rng = np.random.default_rng(seed)
    rows, terms, stacks = [], [], []
    known = pd.Timestamp(until)
    for number in range(accounts):
        account = f"{MARKER}-a{number:04d}"
        industry = str(rng.choice(INDUSTRIES))
        row = {"account_id": account, "industry": f"{MARKER}-{industry}"}
        row["employees"] = int(rng.integers(10, 1000))
        tools = rng.choice(TOOLS, rng.integers(1, 4), replace=False)
        start = pd.Timestamp("2019-06-01") + pd.Timedelta(days=int(rng.integers(0, 1900)))
        draws, growth = rng.random(12), rng.choice([1.0, 1.3], 12)
        if start > known:
            continue
        rows.append(row)
        stacks += [{"account_id": account, "technology": f"{MARKER}-{tool}"} for tool in tools]
        arr = 1000.0
        for draw, more in zip(draws, growth, strict=True):
            end = start + pd.Timedelta(days=365)
            terms.append({"account_id": account, "start_date": start, "end_date": end, "arr": arr})
            loyal = "Fintech" if end < pd.Timestamp(turn) else "Retail"
            if draw > (0.9 if industry == loyal else 0.6) or end > known:
                break
            start, arr = end, round(arr * float(more), 2)
    return {
        "accounts": pd.DataFrame(rows),
        "subscriptions": pd.DataFrame(terms),
        "technologies": pd.DataFrame(stacks),
    }


SECRET = "qzxk"
#: What no file of a model may hold: the start of every text that one or a few accounts have, and numbers of
#: one account each, as anybody may write them.
SECRETS = (SECRET, "8675309", "31415926", "27182818", "16180339", "14142135", "1987-06-05")


def marked(accounts: int = 120) -> dict[str, pd.DataFrame]:
    """Return :func:`base` with a secret in every column of every table, and in rows that are refused."""
    tables = base(accounts)
    first = tables["accounts"]["account_id"].tolist()
    own = {account: f"{SECRET}-id-{place:04d}" for place, account in enumerate(first)}
    tables = {name: table.assign(account_id=table["account_id"].map(own)) for name, table in tables.items()}
    ids, n = list(own.values()), len(first)
    who = tables["accounts"]
    who["owner"] = [f"{SECRET}-owner-{place}" for place in range(n)]
    who["notes"] = [
        f"{SECRET} said in call {place} that budget is gone and Mrs {SECRET} left" for place in range(n)
    ]
    who["email"] = f"{SECRET}@example.com"
    who["segment"] = [
        f"{SECRET}-rare-{place}" if place < 3 else ("Mid", "Large")[place % 2] for place in range(n)
    ]
    who["city"] = [f"{SECRET}-city-{place // 2}" if place < 40 else f"city {place % 9}" for place in range(n)]
    who["funding_stage"] = [
        "Series D+" if place == 1 else ("Seed", "Series A")[place % 2] for place in range(n)
    ]
    who.loc[5, "employees"] = 8675309
    who["revenue"] = np.random.default_rng(3).lognormal(10, 1, n).round(2)
    who.loc[7, "revenue"] = 31415926.53
    who["score"] = who["revenue"].astype(str).where(who.index != 9, f"see {SECRET}")
    who["founded"] = [f"19{80 + place % 20}-01-01" for place in range(n)]
    who.loc[11, "founded"] = "1987-06-05"
    tools = tables["technologies"]
    tables["technologies"] = pd.concat(
        [tools, pd.DataFrame({"account_id": ids[:3], "technology": f"{SECRET}-tool"})], ignore_index=True
    ).assign(category="tools")
    tables["technologies"].loc[4, "category"] = f"{SECRET}-category"
    terms = tables["subscriptions"]
    terms["product"] = [f"{SECRET}-product-{place}" for place in range(len(terms))]
    terms.loc[3, "arr"] = 27182818.0
    bad = terms.head(2).assign(account_id=[f"{SECRET}-stranger", ids[0]], arr=["x", f"{SECRET} EUR"])
    tables["subscriptions"] = pd.concat([terms.astype({"arr": object}), bad], ignore_index=True)
    some, day = ids[:60], "2024-03-01"
    deals = pd.DataFrame({"account_id": some, "closed_date": day, "won": [True, False] * 30})
    tables["deals"] = deals.assign(amount=16180339.0, owner=f"{SECRET}-seller", reason_lost=f"{SECRET}-lost")
    tables["tickets"] = pd.DataFrame({"account_id": some, "date": day, "severity": f"{SECRET}-urgent"})
    tables["nps"] = pd.DataFrame(
        {"account_id": some, "date": day, "score": 9, "comment": f"{SECRET}-comment"}
    )
    usage = pd.DataFrame({"account_id": some, "date": day, "metric": f"{SECRET}-metric", "value": 14142135.0})
    return {**tables, "usage": usage}


def config(until: str = "2025-09-30", first: str = "2022-03-31") -> Config:
    last = (pd.Timestamp(until) - pd.DateOffset(months=12)).date()
    days = tuple(icp.quarter_ends(first, last))
    return Config(data=DataConfig(snapshot_dates=days, observed_until=date.fromisoformat(until)))


def lay_out(
    folder: Path,
    until: str,
    first: str = "2022-03-31",
    tables: dict[str, pd.DataFrame] | None = None,
    **changes: object,
) -> Path:
    """Write the tables known on a day and an ``icp.toml`` beside them; return the path of the settings."""
    crm = folder / "crm"
    crm.mkdir(parents=True, exist_ok=True)
    for name, table in (base(until=until, **changes) if tables is None else tables).items():
        table.to_csv(crm / f"{name}.csv", index=False)
    days = ", ".join(day.isoformat() for day in config(until, first).snapshot_dates)
    settings = folder / "icp.toml"
    settings.write_text(
        f'[data]\nsource = "crm"\nsnapshot_dates = [{days}]\nobserved_until = {until}\n', encoding="utf-8"
    )
    return settings


def tracker(store: str, at: datetime | None = None, model: str = "icp") -> icp.MlflowTracker:
    found = icp.MlflowTracker(experiment="lifecycle", model_name=model, tracking_uri=store)
    if at is not None:
        found.clock = lambda: at
    return found


def warm_up() -> None:
    """Import what a job needs, so that a forked job begins at once; open no store and no thread pool."""
    warnings.simplefilter("ignore")
    import mlflow.pyfunc  # noqa: F401
    from mlflow.store.model_registry import sqlalchemy_store as registry_store  # noqa: F401
    from mlflow.store.tracking import sqlalchemy_store  # noqa: F401

    import icp_ml.serve.retrain  # noqa: F401
    from icp_ml.model import estimator  # noqa: F401


def use_ready_model(bundle: Path) -> None:
    """Let jobs take a dataset and a model that are ready: what is tried here is the registry."""
    import icp_ml.serve.retrain as line

    ready = icp.load(bundle)
    dataset = line.dataset_of(icp.read_tables(base())[0], config())
    whole = line.evaluate
    instead = {
        "dataset_of": lambda *_: dataset,
        "train_configured": lambda *_, **__: ready,
        "evaluate": lambda *args, **more: whole(*args, **{**more, "n_bootstrap": 10}),
    }
    for name, quick in instead.items():
        getattr(line, name)  # so that a name that has gone is told, and nothing is trained unseen
        setattr(line, name, quick)


def start(job: Callable[[], int], said: Path) -> int:
    """Fork a job; its words go to a file. Returns the process number."""
    child = os.fork()
    if child:
        return child
    with said.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    code = 1
    try:
        code = job()
    except BaseException as error:  # noqa: BLE001 - the job's end is its exit code
        import traceback

        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def count_calls(die_at: int | None = None, said: Path | None = None) -> None:
    """Count calls to MLflow; end this process by SIGKILL at one of them, before or after it by turns."""
    from icp_ml.adapters import mlflow_model, mlflow_run, mlflow_store

    plain, count = mlflow_store.patiently, [0]

    def counted(call: Callable[..., object], *args: object, **kwargs: object) -> object:
        count[0] += 1
        mine = count[0]
        if said is not None:
            said.write_text(str(mine), encoding="utf-8")
        if die_at is not None and 2 * mine == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = plain(call, *args, **kwargs)
        if die_at is not None and 2 * mine + 1 == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    for module in (mlflow_run, mlflow_model, mlflow_store):
        module.patiently = counted


def retrain_job(store: str, *, force: bool, model: str = "icp") -> int:
    """Retrain once; 0 promoted, 3 not."""
    tables, _ = icp.read_tables(base(20))
    outcome = icp.retrain(tables, config(), tracker(store, model=model), force=force)
    print(f"{datetime.now(tz=UTC):%H:%M:%S} {outcome.version} {outcome.promoted} {outcome.repeated}")
    return 0 if outcome.promoted else 3


def wait(child: int, seconds: float = 300.0) -> int:
    """Wait for a job and return its exit code; -9 when killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    raise TimeoutError(f"job {child} didn't end within {seconds} s")


def state(store: str, model: str = "icp") -> dict[str, object]:
    """What a registry holds, and whether champion, history and versions agree."""
    import mlflow

    found = tracker(store, model=model)
    client = mlflow.MlflowClient(tracking_uri=store)
    changes, champion = found.history(), found.champion()
    versions = client.search_model_versions(f"name='{model}'")
    made = {f"{model}/{version.version}": dict(version.tags) for version in versions}
    status = {name: tags.get("validation_status") for name, tags in made.items()}
    promoted = changes["version"].tolist()
    replaced = changes["replaces"].tolist()
    locks = client.search_registered_models(f"name LIKE '{model}_lock%'")
    loads = champion is None or found.load(champion).version == champion
    return {
        "champion": champion,
        "champion_loads": bool(loads),
        "history": promoted,
        "status": status,
        "sequence_whole": changes["sequence"].tolist() == list(range(1, len(changes) + 1)),
        "each_follows_the_one_before": replaced == [None, *promoted[:-1]] if promoted else True,
        "last_is_champion": (promoted[-1] if promoted else None) == champion,
        "approved_are_those_promoted": {n for n, s in status.items() if s == "approved"} == set(promoted),
        "none_pending": "pending" not in status.values(),
        "no_lock_left": not locks,
    }


def sound(found: dict[str, object]) -> bool:
    """Say whether everything in :func:`state` agrees."""
    return all(value is True for value in found.values() if isinstance(value, bool))


def ready_bundle(folder: Path) -> Path:
    """Train one model in a process of its own and return the folder of its bundle."""
    bundle = folder / "bundle"

    def job() -> int:
        from icp_ml.serve.retrain import dataset_of

        tables, _ = icp.read_tables(base())
        dataset = dataset_of(tables, config())
        known, _ = icp.split_out_of_time(dataset, test_from=dataset.labels["snapshot_date"].max())
        icp.save(icp.train(known), bundle)
        return 0

    if wait(start(job, folder / "bundle.txt"), 600.0):
        raise SystemExit((folder / "bundle.txt").read_text(encoding="utf-8")[-3000:])
    return bundle
