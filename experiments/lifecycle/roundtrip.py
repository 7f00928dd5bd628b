"""Frames of every dtype through every way into a logged model: are the scores those of the model itself?"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from dtypes import CASES, LACKS, Case, as_trained, frame
from local_spark import SHORT, local_spark, missing_spark
from server import free_port, started, wait_for

import icp_ml as icp
from icp_ml.adapters.spark import score_spark
from icp_ml.serve.record import run_record

ADDRESS = "models:/icp@challenger"
TOLERANCE = 1e-12
REASONS = 2
KINDS = ("pyfunc", "REST", "Spark")
NUMBERS = ("p_retained", "p_retained_low", "p_retained_high", "p_expanded", "expected_nrr", "icp_fit")
Way = Callable[[pd.DataFrame, dict[str, Any]], pd.DataFrame]


class RefusedError(Exception):
    """A way ended in an error, whose text is all that's left of it on the other side."""


def model_and_base() -> tuple[icp.IcpModel, pd.DataFrame]:
    """Train on dtypes of a careful user; return the model and plain accounts that it never saw."""
    labels = {"retained": "renewed"}
    table = as_trained(frame(400, 1))
    dataset = icp.Dataset.from_frame(
        table, account_id="account_id", labels=labels, snapshot_date="day", technologies=["stack"]
    )
    return icp.train(dataset, profile=False), frame(60, 2).drop(columns="renewed")


def log(model: icp.IcpModel, folder: Path) -> str:
    """Log and register the model in a store of its own; return the store's address."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    table = as_trained(frame(200, 3))
    labels = {"retained": "renewed"}
    dataset = icp.Dataset.from_frame(
        table, account_id="account_id", labels=labels, snapshot_date="day", technologies=["stack"]
    )
    icp.save(model, folder / "bundle")
    record = run_record(model, icp.evaluate(model, dataset, n_bootstrap=10))
    icp.MlflowTracker(tracking_uri=uri).log(record, folder / "bundle")
    return uri


def pyfunc_way(uri: str) -> Way:
    """MLflow's own loader in this process."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    loaded = mlflow.pyfunc.load_model(ADDRESS)
    return lambda given, params: loaded.predict(given, params=params)


@contextmanager
def served(uri: str, folder: Path) -> Iterator[str]:
    """Serve the model as MLflow's manual says, and end the server with its children."""
    port = free_port()
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    environment["PATH"] = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    command = [bin_folder / "mlflow", "models", "serve", "-m", ADDRESS, "--env-manager", "local"]
    command += ["-p", port, "-w", 1]
    with started(command, folder / "server.txt", env=environment) as server:
        wait_for(f"http://127.0.0.1:{port}/ping", server, folder / "server.txt")
        yield f"http://127.0.0.1:{port}/invocations"


def rest_way(address: str, orient: str) -> Way:
    """Rows as JSON over HTTP."""

    def score(given: pd.DataFrame, params: dict[str, Any]) -> pd.DataFrame:
        rows = [[wire(cell) for cell in given[name]] for name in given.columns]
        columns = [str(name) for name in given.columns]
        lines = [list(line) for line in zip(*rows, strict=True)]
        split = {"columns": columns, "data": lines}
        records = [dict(zip(columns, line, strict=True)) for line in lines]
        body = {f"dataframe_{orient}": split if orient == "split" else records, "params": params}
        asked = urllib.request.Request(
            address, json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return pd.DataFrame(json.load(answer)["predictions"])
        except urllib.error.HTTPError as error:
            raise RefusedError(error.read().decode()) from None

    return score


def wire(cell: Any) -> Any:
    """Return a cell as JSON has it: text, number, flag, list or null."""
    if isinstance(cell, np.ndarray | list | tuple | set):
        return [wire(item) for item in (sorted(cell) if isinstance(cell, set) else list(cell))]
    if isinstance(cell, np.generic):
        cell = cell.item()
    if cell is None or cell is pd.NA or cell is pd.NaT or cell != cell:
        return None
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    if isinstance(cell, Decimal):
        return int(cell)
    return str(cell) if isinstance(cell, pd.Timedelta) else cell


@contextmanager
def spark_session(folder: Path) -> Iterator[Any]:
    """Start Spark on this machine."""
    settings = {"spark.sql.session.timeZone": "UTC", "spark.sql.warehouse.dir": str(folder / "warehouse")}
    with local_spark({**SHORT, **settings}) as session:
        yield session


def in_spark(spark: Any, score: Callable[[Any, dict[str, Any]], pd.DataFrame], folder: Path) -> Way:
    """Hand frames to Spark as a company does, in a parquet file; a file that was there before is known."""
    known: dict[bytes, pd.DataFrame] = {}

    def way(given: pd.DataFrame, params: dict[str, Any]) -> pd.DataFrame:
        file = folder / "given.parquet"
        given.to_parquet(file, index=False, coerce_timestamps="us", store_schema=False)
        found = pq.read_table(file).replace_schema_metadata()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, found.schema) as stream:
            stream.write_table(found)
        key = sha256(sink.getvalue()).digest()
        if key not in known:
            known[key] = score(spark.read.parquet(str(file)).coalesce(1), params)
        return known[key]

    return way


def udf_way(spark: Any, uri: str, folder: Path) -> Way:
    """MLflow's Spark function on a struct of all columns."""
    import mlflow
    from pyspark.sql.functions import struct

    mlflow.set_tracking_uri(uri)
    texts = [f"{kind}_{i + 1} string" for kind in ("reason", "risk") for i in range(REASONS)]
    kinds = ["account_id string", *(f"{name} double" for name in NUMBERS), "tier string", *texts]

    @cache
    def function(params: tuple[tuple[str, Any], ...]) -> Any:
        return mlflow.pyfunc.spark_udf(
            spark, ADDRESS, result_type=", ".join(kinds), env_manager="local", params=dict(params)
        )

    def score(df: Any, params: dict[str, Any]) -> pd.DataFrame:
        columns = struct(*(f"`{name}`" for name in df.columns))
        scored = df.select(function(tuple(params.items()))(columns).alias("s"))
        return scored.select("s.*").toPandas()

    return in_spark(spark, score, folder)


def own_spark_way(spark: Any, model: icp.IcpModel, folder: Path) -> Way:
    """Our own Spark path."""

    def score(df: Any, params: dict[str, Any]) -> pd.DataFrame:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return score_spark(df, model, **params).toPandas()

    return in_spark(spark, score, folder)


def outcome(case: Case, way: Way, name: str, model: icp.IcpModel, plain: pd.DataFrame) -> str:
    """Say what came of a case: ``equal``, ``named error``, why a way can't carry it, or what went wrong."""
    lack = dict(case.lacks).get(name)
    if lack is not None:
        return lack
    given = case.given(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = way(given, {"reasons": REASONS})
        except Exception as error:  # noqa: BLE001 - whatever a way raises is what is looked at
            return _refusal(case, error)
        if case.error:
            return f"NO ERROR: expected {case.error}"
        expected = model.score(given if case.meant is None else case.meant(plain), reasons=REASONS)
    return difference(found, expected) or "equal"


def _refusal(case: Case, error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    if case.error and case.error in text:
        return "named error"
    lines = text.strip().splitlines()
    return f"ERROR: {lines[0][:160]} ... {lines[-1][-160:]}"


def difference(found: pd.DataFrame, expected: pd.DataFrame) -> str:
    """Return how two score tables differ; empty when they don't, to 1e-12."""
    if len(found) != len(expected):
        return f"DIFFERS: {len(found)} rows, expected {len(expected)}"
    for name in NUMBERS:
        left, right = (table[name].to_numpy(dtype="float64", na_value=np.nan) for table in (found, expected))
        if not np.allclose(left, right, rtol=0.0, atol=TOLERANCE, equal_nan=True):
            return f"DIFFERS: {name} by {np.nanmax(np.abs(left - right)):.2g}"
    for name in ["account_id", "tier", *(c for c in expected if c.startswith(("reason_", "risk_")))]:
        left, right = ([_text(cell) for cell in table[name]] for table in (found, expected))
        if left != right:
            return f"DIFFERS: {name}"
    return ""


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else ""


@contextmanager
def opened(kind: str, uri: str, model: icp.IcpModel, folder: Path) -> Iterator[dict[str, Way]]:
    """Open the ways of a kind into the logged model: pyfunc, REST or Spark."""
    if kind == "pyfunc":
        yield {"pyfunc": pyfunc_way(uri)}
    elif kind == "REST":
        with served(uri, folder) as address:
            yield {f"REST {orient}": rest_way(address, orient) for orient in ("split", "records")}
    else:
        with spark_session(folder) as spark:
            own = own_spark_way(spark, model, folder)
            yield {"spark_udf": udf_way(spark, uri, folder), "score_spark": own}


def outcomes(
    kind: str, uri: str, model: icp.IcpModel, plain: pd.DataFrame, folder: Path, cases: Sequence[Case]
) -> dict[str, list[str]]:
    """Return what came of each case in every way of a kind."""
    with opened(kind, uri, model, folder) as ways:
        return {
            name: [outcome(case, way, name, model, plain) for case in cases] for name, way in ways.items()
        }


def is_good(said: str) -> bool:
    """Say whether an outcome is what was promised, or a frame that the way can't carry at all."""
    return said in ("equal", "named error", *LACKS)


def table(rows: list[dict[str, str]]) -> str:
    """Return the outcomes as a Markdown table."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([row[head] for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="three cases, nothing written")
    parser.add_argument("--out", type=Path, default=None, help="folder for roundtrip.json")
    asked = parser.parse_args()
    cases = [CASES[0], CASES[8], CASES[-1]] if asked.smoke else CASES
    kinds = [kind for kind in KINDS if kind != "Spark" or not missing_spark()]
    model, plain = model_and_base()
    found: dict[str, list[str]] = {"frame": [case.name for case in cases]}
    with tempfile.TemporaryDirectory() as name:
        uri = log(model, Path(name))
        for kind in kinds:
            found |= outcomes(kind, uri, model, plain, Path(name), cases)
    rows = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    print(table(rows))
    bad = [row for row in rows if not all(map(is_good, list(row.values())[1:]))]
    print(f"{len(rows)} frames, {len(bad)} with a bad outcome; {missing_spark() or 'with Spark'}")
    if not asked.smoke:
        target = (asked.out or Path(__file__).resolve().parent) / "roundtrip.json"
        target.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
