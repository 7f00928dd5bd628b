"""Local Spark beside the local path: the same bytes, and how many accounts a second each scores on one core.

python experiments/speed/spark.py [--smoke] [--write] [--rows 200000]

Both run on one core and read and write the same parquet; starting Spark isn't counted, the first job on each
side (which ships or loads the model) neither.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
BAR = 0.6


def session() -> Any:
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[1]").appName("icp_ml speed")
    for name, value in (
        ("spark.ui.enabled", "false"),
        ("spark.driver.bindAddress", "127.0.0.1"),
        ("spark.driver.host", "127.0.0.1"),
        ("spark.driver.memory", "2g"),
        ("spark.sql.execution.arrow.maxRecordsPerBatch", "16384"),
    ):
        builder = builder.config(name, value)
    found = builder.getOrCreate()
    found.sparkContext.setLogLevel("OFF")
    return found


def same(left: Path, right: Path) -> bool:
    """Whether both folders hold the same scores, row by row, bit by bit."""
    import pyarrow.parquet as pq

    one, other = (pq.read_table(folder).sort_by("account_id") for folder in (left, right))
    return bool(one.combine_chunks().equals(other.cast(one.schema).combine_chunks()))


def measure(folder: Path, rows: int, repeats: int) -> dict[str, Any]:
    import icp_ml as icp
    from icp_ml.adapters.spark import score_spark

    model = icp.load(folder / "bundle")
    base, out = folder / f"base_{rows}.parquet", {name: folder / name for name in ("local", "spark")}
    spark = session()

    def on_spark() -> None:
        frame = spark.read.parquet(str(base))
        score_spark(frame, model).write.mode("overwrite").parquet(str(out["spark"]))

    def locally() -> None:
        icp.score_parquet(model, base, out["local"], overwrite=True, n_jobs=1)

    took: dict[str, list[float]] = {"local": [], "spark": []}
    for _ in range(1 + repeats):
        for name, run in (("local", locally), ("spark", on_spark)):
            start = time.perf_counter()
            run()
            took[name].append(time.perf_counter() - start)
    best = {name: min(seconds[1:]) for name, seconds in took.items()}
    result = {
        "rows": rows,
        "same_bytes": same(out["local"], out["spark"]),
        "seconds": took,
        "rows_per_second_and_core": {name: rows / seconds for name, seconds in best.items()},
        "spark_to_local": best["local"] / best["spark"],
        "bar": BAR,
    }
    spark.stop()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rows", type=int, default=200_000)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if find_spec("pyspark") is None or shutil.which("java") is None:
        print("rows_per_second_and_core: not measured, pyspark or java isn't there")
        return
    from score_base import make, train

    rows = 500 if args.smoke else args.rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(folder, 300 if args.smoke else 2_000, profile=not args.smoke)
        make(folder, rows)
        result = measure(folder, rows, 1 if args.smoke else 3)
    print(json.dumps(result, indent=1))
    if not result["same_bytes"]:
        raise SystemExit("expected the same scores from both, found others")
    if args.write and not args.smoke:
        (HERE / "spark.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
