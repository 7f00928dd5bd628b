"""A whole account base, parquet in, scores with three reasons and three risks out: time and memory.

python experiments/speed/score_base.py [--smoke] [--write] [--rows 1000000]
python experiments/speed/score_base.py [--write] --memory-rows 10000000

Every part runs in a process of its own. Rows come from the simulation (39 columns: numbers, texts, yes/no and
lists of tools, 15 % missing); the bundle is the default one, both targets, trained once on 2,000 accounts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
PIECE = 50_000
OUTCOMES = ["retained", "expanded", "churned_first_year"]
LABELS = {"retained": "retained", "expanded": "expanded"}
TREES = {"n_estimators": 300, "num_leaves": 31, "verbosity": -1}


def accounts(rows: int, seed: int) -> Any:
    from icp_ml.simulation import make_frame

    frame = make_frame(rows, seed=seed, signal="strong").frame
    frame["account_id"] = f"B{seed:04d}" + frame["account_id"]
    return frame


def make(folder: Path, rows: int) -> None:
    """Write the base; parts of a large one repeat every 20 pieces, with accounts of their own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, pieces = None, {}
    for number in range(max(rows // PIECE, 1)):
        size = min(PIECE, rows)
        if number % 20 not in pieces:
            pieces[number % 20] = accounts(size, 100 + number).drop(columns=OUTCOMES)
        frame = pieces[number % 20]
        frame["account_id"] = f"B{number:05d}" + frame["account_id"].str.slice(5)
        table = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(folder / f"base_{rows}.parquet", table.schema)
        writer.write_table(table.cast(writer.schema))
    writer.close()


def train(folder: Path, known: int, profile: bool = True) -> dict[str, Any]:
    import icp_ml as icp

    frame = accounts(known, 1)
    dataset = icp.Dataset.from_frame(
        frame, account_id="account_id", labels=LABELS, technologies=["technologies"], drop=OUTCOMES[2:]
    )
    model = icp.train(dataset, seed=7, profile=profile)
    icp.save(model, folder / "bundle")
    return {name: classifier.weights_ for name, classifier in model.propensities.items()}


def clock() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def peak_mb() -> float:
    """Most memory of this process; getrusage would give the parent's where that is larger."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def since(start: tuple[float, float]) -> dict[str, float]:
    now = clock()
    return {"seconds": now[0] - start[0], "cpu_seconds": now[1] - start[1]}


def ours(folder: Path, rows: int, threads: int) -> dict[str, Any]:
    """The library from a cold process: imports, loading the bundle, scoring, writing."""
    start = clock()
    import icp_ml as icp

    model = icp.load(folder / "bundle")
    loaded = since(start)["seconds"]
    run = icp.score_parquet(
        model, folder / f"base_{rows}.parquet", folder / f"out_{threads}", overwrite=True, n_jobs=threads
    )
    return {**since(start), "rows": run.rows, "load_seconds": loaded}


def turns(folder: Path, rows: int, threads: int, pairs: int = 5) -> dict[str, Any]:
    """One thread and several in turns in one warm process: neither start nor hour make a difference."""
    import icp_ml as icp

    model, base = icp.load(folder / "bundle"), folder / f"base_{rows}.parquet"
    took: dict[int, list[float]] = {1: [], threads: []}
    for number in range(pairs + 1):
        for n, seconds in took.items():
            start = clock()
            icp.score_parquet(model, base, folder / f"out_{n}", overwrite=True, n_jobs=n)
            if number:  # the first pair warms up
                seconds.append(since(start)["seconds"])
    each = [one / several for one, several in zip(*took.values(), strict=True)]
    return {"rows": rows, "seconds": {str(n): found for n, found in took.items()}, "faster": each}


def first_score(folder: Path, rows: int, threads: int) -> dict[str, Any]:
    """One account from a cold process."""
    import pyarrow.parquet as pq

    start = clock()
    import icp_ml as icp

    model = icp.load(folder / "bundle")
    batch = next(pq.ParquetFile(folder / f"base_{rows}.parquet").iter_batches(batch_size=1)).to_pandas()
    first = model.score(batch)
    found = since(start)
    again = clock()
    assert model.score(batch).equals(first)
    return {**found, "warm_seconds": since(again)["seconds"], "rows": 1}


def floor(folder: Path, rows: int, threads: int, known_rows: int = 2_000) -> dict[str, Any]:
    """Read the file, let LightGBM predict both targets, write two columns; encoding isn't counted.

    LightGBM has the rows and the encoding of the bundle, and trees as in today's way.
    """
    import lightgbm
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    import icp_ml as icp
    from icp_ml.data.conform import conform
    from icp_ml.model.columns import read_columns

    model = icp.load(folder / "bundle")

    encoders = {name: model.propensities[name].ensemble.encoder for name in model.propensities}

    def read(frame: Any) -> Any:
        return read_columns(conform(frame, model.schema), model.schema)

    known = accounts(known_rows, 1)
    columns = read(known)
    boosters = {
        name: lightgbm.LGBMClassifier(**TREES, n_jobs=1).fit(encoder.transform(columns), known[name]).booster_
        for name, encoder in encoders.items()
    }
    total: dict[str, float] = {"seconds": 0.0, "cpu_seconds": 0.0}

    def add(start: tuple[float, float]) -> None:
        for name, value in since(start).items():
            total[name] += value

    start = clock()
    table = pq.read_table(folder / f"base_{rows}.parquet")
    add(start)
    found: dict[str, list[Any]] = {name: [] for name in boosters}
    for batch in table.to_batches(max_chunksize=16_384):
        columns = read(batch.to_pandas())
        for name, booster in boosters.items():
            matrix = encoders[name].transform(columns)
            start = clock()
            found[name].append(booster.predict(matrix, num_threads=threads))
            add(start)
    start = clock()
    scores = {name: np.concatenate(parts) for name, parts in found.items()}
    pq.write_table(pa.table(scores), folder / "floor.parquet", compression="zstd")
    add(start)
    return {**total, "rows": table.num_rows}


def today(folder: Path, rows: int, threads: int, known_rows: int = 2_000) -> dict[str, Any]:
    """pandas, LightGBM with 300 trees of 31 leaves per target, shap.TreeExplainer, argsort; cold as ours."""
    start = clock()
    import lightgbm
    import numpy as np
    import pandas as pd
    import shap

    imports = since(start)

    def read(frame: Any, tools: list[str]) -> Any:
        flags = frame["technologies"].explode()
        held = pd.crosstab(flags.index, flags).reindex(index=frame.index, columns=tools, fill_value=0)
        plain = frame.drop(columns=["account_id", "technologies"])
        for name in plain:
            if plain[name].dtype == object or str(plain[name].dtype) in ("str", "string"):
                plain[name] = plain[name].astype("category").cat.codes
            elif str(plain[name].dtype) in ("boolean", "bool"):
                plain[name] = plain[name].astype("float64")
        return pd.concat([plain, held], axis=1)

    known = accounts(known_rows, 1)
    tools = sorted(known["technologies"].explode().dropna().unique())
    X = read(known.drop(columns=OUTCOMES), tools)
    models = {name: lightgbm.LGBMClassifier(**TREES, n_jobs=threads).fit(X, known[name]) for name in LABELS}
    start = clock()
    frame = pd.read_parquet(folder / f"base_{rows}.parquet")
    matrix = read(frame, tools)
    scores = {name: model.predict_proba(matrix)[:, 1] for name, model in models.items()}
    values = np.asarray(shap.TreeExplainer(models["retained"]).shap_values(matrix))
    values = values[..., 1] if values.ndim == 3 else values
    order, names = np.argsort(values, axis=1), np.array(matrix.columns.astype(str))
    for place in range(3):
        scores[f"reason_{place + 1}"] = names[order[:, -1 - place]]
        scores[f"risk_{place + 1}"] = names[order[:, place]]
    pd.DataFrame(scores).to_parquet(folder / "today.parquet")
    return {**since(start), "rows": len(frame), "imports": imports}


PARTS = {"ours": ours, "turns": turns, "first_score": first_score, "floor": floor, "today": today}
SMOKE = {
    **PARTS,
    "turns": partial(turns, pairs=1),
    "floor": partial(floor, known_rows=300),
    "today": partial(today, known_rows=300),
}


def run_part(name: str, folder: Path, rows: int, threads: int) -> dict[str, Any]:
    """Run a part in a process of its own."""
    command = [sys.executable, str(HERE / "score_base.py"), "--part", name, "--folder", str(folder)]
    command += ["--rows", str(rows), "--threads", str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(folder: Path, rows: int, small: int, today_rows: int, smoke: bool) -> dict[str, Any]:
    """Time ours, the floor and today's way on small bases, ours on the large one too.

    In the short form one part starts cold, the others share this process.
    """
    found: dict[str, Any] = {}
    for label, name, n, threads in (
        ("ours, cold process, one account", "first_score", small, 1),
        ("ours, small base, 1 thread", "ours", small, 1),
        ("floor, small base, 1 thread", "floor", small, 1),
        ("ours, small base, 2 threads", "ours", small, 2),
        ("today, base of its own, 1 thread", "today", today_rows, 1),
        ("ours, 1 thread", "ours", rows, 1),
        ("ours, 2 threads", "ours", rows, 2),
        ("1 and 2 threads in turns, warm", "turns", rows, 2),
    ):
        run = SMOKE[name] if smoke and name != "first_score" else partial(run_part, name)
        found[label] = run(folder, n, threads)
        print(f"{label:<36}{json.dumps(found[label])}", flush=True)
    return found


def memory(folder: Path, *sizes: int) -> dict[str, Any]:
    """Peak memory of bases of several sizes; it shouldn't depend on the size."""
    found = {}
    for rows in sizes:
        make(folder, rows)
        found[str(rows)] = run_part("ours", folder, rows, 2)
        (folder / f"base_{rows}.parquet").unlink()
        print(rows, json.dumps(found[str(rows)]), flush=True)
    return found


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """CPU time, which a busy machine changes least; today's way is scaled up from its rows to the small base.

    Ours counts imports and loading the bundle, and so does today's way; the floor has neither.
    """

    def each(label: str) -> float:
        return found[label]["cpu_seconds"] / found[label]["rows"]

    ours, floor = found["ours, 1 thread"], each("floor, small base, 1 thread")
    small, today = found["ours, small base, 1 thread"], found["today, base of its own, 1 thread"]
    today_small = today["cpu_seconds"] / today["rows"] * small["rows"] + today["imports"]["cpu_seconds"]
    marginal = (ours["cpu_seconds"] - small["cpu_seconds"]) / (ours["rows"] - small["rows"])
    return {
        "cpu_microseconds_per_row": 1e6 * marginal,
        "floor_microseconds_per_row": 1e6 * floor,
        "to_floor": each("ours, 1 thread") / floor,
        "to_floor_without_start": marginal / floor,
        "faster_than_today_at_small_base": today_small / small["cpu_seconds"],
        "wall_2_threads_against_1": ours["seconds"] / found["ours, 2 threads"]["seconds"],
        "warm_2_threads_against_1": median(found["1 and 2 threads in turns, warm"]["faster"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--memory-rows", type=int, default=0, help="only the peak memory of so many and of --rows"
    )
    parser.add_argument("--part", choices=sorted(PARTS))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.part:
        found = PARTS[args.part](args.folder, args.rows, args.threads)
        print(json.dumps({**found, "peak_mb": peak_mb()}))
        return
    rows, small, today_rows = (600, 400, 100) if args.smoke else (args.rows, 100_000, 10_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = train(folder, 150, profile=False) if args.smoke else train(folder, 2_000)
        if args.memory_rows:
            result = {"memory": memory(folder, rows, args.memory_rows)}
        else:
            for n in {rows, small, today_rows}:
                make(folder, n)
            found = compare(folder, rows, small, today_rows, args.smoke)
            result = {"weights": weights, "ratios": ratios(found), "runs": found}
    print(json.dumps(result.get("ratios", result), indent=1))
    if args.write and not args.smoke:
        file = HERE / "score_base.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        file.write_text(json.dumps(known | result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
