"""Bundles bent field by field, with hashes made again, loaded and scored in child processes.

Every field of every JSON file of a small bundle that holds each kind of member is deleted, given another
type, a number out of range, not finite or huge, another length or order; model texts and the folder itself
are bent as well. A mutation has to end in ``BundleError``, in the same scores or, where it says another sound
model, in other finite ones. Anything else is a fault: an access outside an array, a crash, a hang, NaN, a raw
error.

    python experiments/faults/bundles.py [--smoke] [--bounds] [--bundle FOLDER --rows FILE] [--most N]

``--bounds`` has numba check every index. Prints the counts as JSON; exits with 1 if there is a fault.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bending import Mutation, apply, mutations  # noqa: E402

BAD = ("out of bounds", "crash", "hang", "NaN scored", "raw error")
GUARD_SECONDS = 120
SMOKE, ROWS = 48, 2_100


def make_base(folder: Path) -> tuple[Path, Path]:
    """Train a small model whose ensemble holds a member of each kind; return its folder and rows to score."""
    import numpy as np
    import pandas as pd

    import icp_ml as icp
    from icp_ml.model.propensity import PropensityClassifier
    from icp_ml.serve.bundle import save

    rng = np.random.default_rng(5)
    n = 160
    tools = [sorted(rng.choice(["dbt", "jira", "aws"], rng.integers(0, 3), replace=False)) for _ in range(n)]
    frame = pd.DataFrame(
        {
            "id": [f"a{i}" for i in range(n)],
            "size": rng.normal(size=n).round(2),
            "yes": (rng.random(n) < 0.5).astype(float),
            "plan": rng.choice(["free", "team", "firm"], n),
            "stack": [list(map(str, own)) for own in tools],
        }
    )
    frame.loc[::9, "size"], frame.loc[::11, "plan"] = np.nan, None
    frame["kept"] = (frame["size"].fillna(0) + (frame["plan"] == "firm") + rng.normal(size=n)) > 0
    dataset = icp.Dataset.from_frame(
        frame, account_id="id", labels={"retained": "kept"}, technologies=["stack"]
    )
    model = icp.train(dataset, n_jobs=1, seed=1)
    states: dict[str, Any] = {}
    texts: dict[str, str] = {}
    names = ("additive", "deep", "bands", "logistic", "bounded")
    rows, y = dataset.target("retained")
    for name in names:
        alone = PropensityClassifier(candidates=(name,), n_bags=2, n_folds=2, n_jobs=1)
        alone.fit_features(dataset.features.iloc[rows], dataset.schema, y, dataset.groups[rows])
        state, own = alone.to_state()
        states.update(state["ensemble"]["members"])
        texts.update(own)
    state["ensemble"]["members"] = states
    state["ensemble"]["weights"] = dict.fromkeys(names, 1.0 / len(names))
    state["ensemble"]["baseline"] = state["ensemble"]["calibration"]
    stack = PropensityClassifier.from_state(state, texts)
    object.__setattr__(model, "propensities", {"retained": stack})
    save(model, folder / "bundle")
    again = pd.concat([frame.drop(columns="kept")] * (-(-ROWS // n)), ignore_index=True).head(ROWS)
    again.to_parquet(folder / "rows.parquet")
    return folder / "bundle", folder / "rows.parquet"


def child(base: Path, rows: Path, numbers: list[int], smoke: bool) -> None:
    """Bend, load and score one mutation after the other; say a line of each."""
    import warnings

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    import pandas as pd

    from icp_ml.errors import BundleError, IcpError
    from icp_ml.serve.bundle import load

    table = pq.read_table(rows)
    frame = table.to_pandas(
        ignore_metadata=True,
        types_mapper=lambda kind: pd.ArrowDtype(kind) if pa.types.is_list(kind) else None,
    )
    wanted = load(base).score(frame)
    every = mutations(base, smoke=smoke)
    print(json.dumps({"ready": True}), flush=True)
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            bent = Path(folder) / "bundle"
            shutil.copytree(base, bent)
            apply(bent, every[number])
            try:
                model = load(bent)
            except BundleError as problem:
                outcome, text = "BundleError", str(problem)
            except Exception as problem:  # noqa: BLE001
                outcome, text = _raw(problem)
            else:
                try:
                    found = model.score(frame)
                    for name in model.propensities:
                        model.propensities[name].cv_results_  # noqa: B018
                    if model.profile is not None:
                        model.profile.to_text()
                    outcome, text = _compared(found, wanted), ""
                except IcpError as problem:
                    outcome, text = "another named error", f"{type(problem).__name__}: {problem}"
                except Exception as problem:  # noqa: BLE001
                    outcome, text = _raw(problem)
        print(json.dumps({"number": number, "outcome": outcome, "text": text[:300]}), flush=True)


def _raw(problem: Exception) -> tuple[str, str]:
    text = f"{type(problem).__name__}: {problem}"
    outside = isinstance(problem, IndexError) and "out of bounds" in str(problem)
    return ("out of bounds" if outside else "raw error"), text


def _compared(found: Any, wanted: Any) -> str:
    import numpy as np

    numbers = [name for name in wanted if wanted[name].dtype.kind == "f"]
    if len(found) != len(wanted):
        return "raw error"
    for name in numbers:
        new = np.isnan(found[name].to_numpy()) & ~np.isnan(wanted[name].to_numpy())
        if new.any() or np.isinf(found[name].to_numpy()).any():
            return "NaN scored"
    return "the same scores" if found.equals(wanted) else "other finite scores"


def run(base: Path, rows: Path, numbers: list[int], *, smoke: bool, bounds: bool) -> list[dict[str, Any]]:
    """Run mutations in children; one that dies or hangs costs its own mutation only."""
    left, found = list(numbers), []
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        if bounds:
            environment |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": cache}
        while left:
            told = list(_lines(base, rows, left, smoke, environment))
            found += told
            done = {line["number"] for line in told}
            if not done:
                raise SystemExit("the child died before its first mutation")
            left = [number for number in left if number not in done]
    return found


def _lines(
    base: Path, rows: Path, numbers: list[int], smoke: bool, environment: dict[str, str]
) -> Iterator[dict[str, Any]]:
    command = [
        sys.executable,
        __file__,
        "--child",
        str(base),
        str(rows),
        json.dumps(numbers),
        str(int(smoke)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    assert process.stdout is not None
    ready, place, buffer = False, 0, b""
    while place < len(numbers):
        if not select.select([process.stdout], [], [], GUARD_SECONDS * (1 if ready else 10))[0]:
            process.kill()
            process.wait()
            if ready:
                yield {"number": numbers[place], "outcome": "hang", "text": f"{GUARD_SECONDS} s"}
            return
        chunk = os.read(process.stdout.fileno(), 65_536)
        if not chunk:
            code = process.wait()
            if ready:
                yield {"number": numbers[place], "outcome": "crash", "text": f"exit code {code}"}
            return
        *whole, buffer = (buffer + chunk).split(b"\n")
        for line in map(json.loads, whole):
            if "ready" in line:
                ready = True
            else:
                place += 1
                if line["outcome"] != "BundleError":
                    sys.stderr.write(json.dumps(line) + "\n")
                yield line
    process.wait()


def main() -> int:
    """Run the corpus and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--bounds", action="store_true")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--most", type=int)
    parser.add_argument("--child", nargs=4)
    given = parser.parse_args()
    if given.child:
        base, rows, numbers, smoke = given.child
        child(Path(base), Path(rows), json.loads(numbers), bool(int(smoke)))
        return 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        base, rows = (given.bundle, given.rows) if given.bundle else make_base(Path(folder))
        every: list[Mutation] = mutations(base, smoke=given.smoke)
        most = given.most or (SMOKE if given.smoke else len(every))
        step = max(len(every) / most, 1.0)
        numbers = [int(place * step) for place in range(min(most, len(every)))]
        found = run(base, rows, numbers, smoke=given.smoke, bounds=given.bounds)
    counts = Counter(line["outcome"] for line in found)
    faults = [{"mutation": every[line["number"]].text, **line} for line in found if line["outcome"] in BAD]
    digest = hashlib.sha256("".join(one.text for one in every).encode()).hexdigest()[:12]
    print(
        json.dumps(
            {
                "mutations": len(found),
                "of": len(every),
                "corpus": digest,
                "bounds_checked": given.bounds,
                "counts": dict(sorted(counts.items())),
                "faults": faults,
                "other_named_errors": [line for line in found if line["outcome"] == "another named error"],
                "seconds": round(time.monotonic() - start),
            },
            indent=1,
        )
    )
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
