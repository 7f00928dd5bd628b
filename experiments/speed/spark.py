"""Local Spark beside the local path: the same bytes, and how many accounts a second each scores on one core.

python experiments/speed/spark.py [--smoke] [--write] [--rows 200000]

Both run on one core and read and write the same parquet; starting Spark isn't counted, the first job on each
side (which ships or loads the model) neither.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from local_spark import SHORT, local_spark, missing_spark

BAR = 0.6


def same(left: Path, right: Path) -> bool:
    """Whether both folders hold the same scores, row by row, bit by bit."""
    import pyarrow.parquet as pq

    one, other = (pq.read_table(folder).sort_by("account_id") for folder in (left, right))
    return bool(one.combine_chunks().equals(other.cast(one.schema).combine_chunks()))


def measure(spark: Any, folder: Path, rows: int, repeats: int) -> dict[str, Any]:
    import icp_ml as icp
    from icp_ml.adapters.spark import score_spark

    model = icp.load(folder / "bundle")
    base, out = folder / f"base_{rows}.parquet", {name: folder / name for name in ("local", "spark")}

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
    return {
        "rows": rows,
        "same_bytes": same(out["local"], out["spark"]),
        "seconds": took,
        "rows_per_second_and_core": {name: rows / seconds for name, seconds in best.items()},
        "spark_to_local": best["local"] / best["spark"],
        "bar": BAR,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rows", type=int, default=200_000)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if missing_spark():
        print(f"rows_per_second_and_core: not measured, {missing_spark()}")
        return
    from score_base import make, train

    rows = 500 if args.smoke else args.rows
    settings = {"spark.sql.execution.arrow.maxRecordsPerBatch": "16384", **(SHORT if args.smoke else {})}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(folder, 150 if args.smoke else 2_000, profile=not args.smoke)
        make(folder, rows)
        with local_spark(settings, memory="2g") as spark:
            result = measure(spark, folder, rows, 1 if args.smoke else 3)
    print(json.dumps(result, indent=1))
    if not result["same_bytes"]:
        raise SystemExit("expected the same scores from both, found others")
    if args.write and not args.smoke:
        (HERE / "spark.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
