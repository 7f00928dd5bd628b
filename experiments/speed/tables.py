"""Raw tables of any size to scores: features, chances and reasons from parquet files larger than memory.

python experiments/speed/tables.py [--smoke] [--write] [--accounts 1000000] [--tools 10] [--folder FOLDER]

Tables are generated in pieces and written as parquet, technology rows in random order of accounts. The model
learns from a small base of the same law. Scoring runs in a process of its own through the command line.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
AS_OF = "2024-06-30"
PIECE = 500_000
N_TOOLS = 2_000
BAR_SECONDS, BAR_GB = 1_200.0, 8.0


def accounts(first: int, n: int, rng: np.random.Generator) -> Any:
    """Return accounts ``first`` to ``first + n`` as an arrow table."""
    pick = rng.integers
    levels = {"industry": ("Industry", 20), "country": ("C", 40)}
    columns = {"account_id": np.char.add("A", np.char.zfill(np.arange(first, first + n).astype(str), 8))}
    for name, (word, count) in levels.items():
        columns[name] = pa.DictionaryArray.from_arrays(
            pa.array(pick(0, count, n).astype(np.int32)), pa.array([f"{word} {i}" for i in range(count)])
        ).cast(pa.string())
    columns["employees"] = np.exp(rng.normal(5, 1.5, n)).round()
    columns["naics"] = pick(111111, 999999, n)
    columns["founded"] = days(n, 2000, rng)
    return pa.table(columns)


def days(n: int, span: int, rng: np.random.Generator) -> Any:
    return (np.datetime64("2018-01-01") + rng.integers(0, span, n).astype("timedelta64[D]")).astype(
        "datetime64[ms]"
    )


def technologies(n_accounts: int, n: int, rng: np.random.Generator) -> Any:
    """Return ``n`` rows of accounts drawn from all."""
    owner = np.char.add("A", np.char.zfill(rng.integers(0, n_accounts, n).astype(str), 8))
    popular = np.minimum((N_TOOLS * rng.random(n) ** 3).astype(np.int32), N_TOOLS - 1)
    first = days(n, 2500, rng)
    gone = rng.random(n) < 0.3
    last = np.where(gone, first + np.timedelta64(400, "D"), np.datetime64("NaT"))
    names = pa.array([f"Tool {place}" for place in range(N_TOOLS)])
    used = pa.DictionaryArray.from_arrays(pa.array(popular), names).cast(pa.string())
    return pa.table({"account_id": owner, "technology": used, "first_seen": first, "last_seen": last})


def make(folder: Path, n_accounts: int, tools_each: int) -> dict[str, int]:
    """Write both tables, a piece at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = {"accounts": n_accounts, "technologies": n_accounts * tools_each}
    for name, total in rows.items():
        writer = None
        for first in range(0, total, PIECE):
            n = min(PIECE, total - first)
            table = accounts(first, n, rng) if name == "accounts" else technologies(n_accounts, n, rng)
            writer = writer or pq.ParquetWriter(folder / f"{name}.parquet", table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
    return rows


def train(bundle: Path, n: int = 2_000, first: str = "2021-03-31", profile: bool = True) -> None:
    """Learn from a few accounts of the same columns, of which small ones and some industries leave early."""
    from features_at_scale import account_base

    import icp_ml as icp

    raw = account_base(n, 10, seed=1) | {"accounts": accounts(0, n, np.random.default_rng(1)).to_pandas()}
    known = raw["accounts"].set_index("account_id")
    leaves = 0.05 + 0.25 * (known["employees"] < 120) + 0.2 * known["industry"].str.endswith(("1", "3", "5"))
    years = pd.Series(np.random.default_rng(3).geometric(leaves), index=known.index)
    sold = raw["subscriptions"]
    held = sold.groupby("account_id").cumcount() < sold["account_id"].map(years)
    tables, _ = icp.read_tables({**raw, "subscriptions": sold[held]})
    dates = icp.quarter_ends(first, "2023-06-30")
    dataset = icp.build_dataset(tables, snapshot_dates=dates, horizon_months=12)
    icp.save(icp.train(dataset, seed=7, profile=profile), bundle)


def score(folder: Path, bundle: Path, out: Path) -> dict[str, Any]:
    """``icp-ml score --tables`` in a process of its own: seconds, CPU seconds and peak memory."""
    command = [str(Path(sys.executable).with_name("icp-ml")), "score", "--model", str(bundle)]
    command += ["--tables", str(folder), "--as-of", AS_OF, "--out", str(out), "--overwrite"]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    peak, split = 0.0, None
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        for line in process.stderr or ():
            print(f"  {time.perf_counter() - start:7.1f} s  {line.rstrip()}", flush=True)
            if split is None and " scored " in f" {line}":
                split = time.perf_counter() - start
            peak = max(peak, _peak_gb(process.pid))
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": cpu,
        "seconds_to_first_scores": split,
        "peak_gb": peak,
        "rows_scored": sum(pq.read_metadata(path).num_rows for path in out.glob("part-*.parquet")),
    }


def _peak_gb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return float(status.split("VmHWM:")[1].split()[0]) / 1024**2 if "VmHWM:" in status else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--tools", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where tables go and stay; default: a temporary folder")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    n = 3_000 if args.smoke else args.accounts
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        tables = folder / f"tables_{n}"
        start = time.perf_counter()
        if not tables.exists():
            make(tables, n, args.tools)
        made = time.perf_counter() - start
        if not (folder / "bundle").exists():
            train(folder / "bundle", *((150, "2023-03-31", False) if args.smoke else ()))
        found = score(tables, folder / "bundle", folder / "out")
        shutil.rmtree(folder / "out")
    result = {"accounts": n, "technology_rows": n * args.tools, "generated_seconds": made, **found}
    print(json.dumps(result, indent=1))
    if result["rows_scored"] != n:
        raise SystemExit(f"expected {n} rows scored, found {result['rows_scored']}")
    if args.write and not args.smoke:
        file = HERE / "tables.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        known |= {str(n): result, "bars_at_10000000": {"seconds": BAR_SECONDS, "peak_gb": BAR_GB}}
        file.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
