"""Contributions from tables beside other libraries' on the same numeric model, path-dependent, one thread.

python experiments/speed/rivals.py [--smoke] [--write] [--envs FOLDER] [--only NAME]

Each rival has an environment of its own under FOLDER, made when it isn't there; one that can't be installed
or run is recorded with the reason. Every process also times LightGBM's own contributions, so that a ratio
compares two times of one process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

HERE = Path(__file__).resolve().parent
BAR = 8.0
SIZES = (1_000, 10_000, 100_000)
REPEATS = 3
REFERENCE_ROWS = 100
RIVALS = {
    "woodelf-explainer": ["woodelf-explainer==0.4.8"],
    "fasttreeshap": ["fasttreeshap==0.1.6"],
    "fasttreeshap-fixed": ["fasttreeshap-fixed==0.1.5"],
    "daal4py": ["scikit-learn-intelex==2026.2.0"],
}
OURS = "icp_ml"
PATIENCE = 1_500.0
MOST_SECONDS = 60.0
"""A size that would take longer at the rate of the one before takes over that rate."""


def made(name: str, booster: Any) -> Callable[[np.ndarray], Any]:
    """Return what explains rows with one library."""
    if name == OURS:
        import icp_ml as icp

        return icp.FastTreeContributions(booster).contributions
    if name == "woodelf-explainer":
        import pandas as pd
        from woodelf import WoodelfExplainer

        explainer, names = WoodelfExplainer(booster), booster.feature_name()
        return lambda X: explainer.shap_values(pd.DataFrame(X, columns=names))
    if name.startswith("fasttreeshap"):
        module = import_module(name.replace("-", "_"))
        explainer = module.TreeExplainer(booster, algorithm="v1", n_jobs=1)
        return lambda X: explainer.shap_values(X, check_additivity=False)
    import daal4py

    model = daal4py.mb.convert_model(booster)
    return lambda X: model.predict(X, pred_contribs=True)


def rows(n: int) -> np.ndarray:
    sys.path.insert(0, str(HERE))
    from contributions import make_rows

    return make_rows(n, 1)[0]


def measure(name: str, model: Path, sizes: list[int]) -> dict[str, Any]:
    """Time one library in this process, beside LightGBM's contributions."""
    import lightgbm

    booster = lightgbm.Booster(model_file=str(model))
    X = rows(max(sizes))
    few = X[:REFERENCE_ROWS]
    explain = made(name, booster)
    wanted = booster.predict(few, pred_contrib=True, num_threads=1)
    found = np.asarray(explain(few), dtype=np.float64)
    found = found[-1] if found.ndim == 3 else found
    width = X.shape[1]
    result: dict[str, Any] = {"difference": float(np.abs(found[:, :width] - wanted[:, :width]).max())}
    lightgbm_cpu = min(_cpu(lambda: booster.predict(few, pred_contrib=True, num_threads=1)) for _ in range(3))
    result["pred_contrib_microseconds"] = 1e6 * lightgbm_cpu / len(few)
    rate = 0.0
    for n in sizes:
        part = X[:n]
        if rate * n > MOST_SECONDS:
            result[str(n)] = {**result[str(sizes[sizes.index(n) - 1])], "taken_from_fewer_rows": True}
            continue
        best = _cpu(lambda part=part: explain(part))
        for _ in range(REPEATS - 1 if best < 5.0 else 0):
            best = min(best, _cpu(lambda part=part: explain(part)))
        rate = best / n
        result[str(n)] = {
            "microseconds": 1e6 * best / n,
            "pred_contrib_to_this": result["pred_contrib_microseconds"] * n / (1e6 * best),
        }
    return result


def _cpu(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def environment(folder: Path, name: str) -> Path:
    """Return the interpreter of a rival's environment, made if it isn't there.

    Raises
    ------
    subprocess.CalledProcessError
        The packages can't be installed.
    """
    home = folder / name
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        venv.create(home, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, *RIVALS[name], "lightgbm"], check=True, capture_output=True, text=True)
        (home / "ready").touch()
    return python


def run_part(python: Path, name: str, model: Path, sizes: list[int]) -> dict[str, Any]:
    command = [str(python), str(HERE / "rivals.py"), "--part", name, "--model", str(model), "--sizes"]
    done = subprocess.run(
        [*command, *map(str, sizes)], check=True, capture_output=True, text=True, timeout=PATIENCE
    )
    return json.loads(done.stdout.splitlines()[-1])


def tried(folder: Path, name: str, model: Path, sizes: list[int]) -> dict[str, Any]:
    """Return a rival's times, or why there are none."""
    try:
        return run_part(environment(folder, name), name, model, sizes)
    except subprocess.CalledProcessError as error:
        said = [line for line in (error.stderr or "").splitlines() if line.strip()]
        return {"not_measured": said[-1][:300] if said else f"exit {error.returncode}"}
    except subprocess.TimeoutExpired:
        return {"not_measured": f"not done after {PATIENCE:.0f} s"}


def compare(envs: Path, names: list[str], smoke: bool) -> dict[str, Any]:
    sys.path.insert(0, str(HERE))
    from contributions import MODELS, train

    sizes = [200] if smoke else list(SIZES)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for label, (trees, leaves) in MODELS.items():
            model = Path(folder) / f"{label}.txt"
            shape = (5, 5, False, 500) if smoke else (trees, leaves, False, 20_000)
            train(*shape).save_model(str(model))
            ours = run_part(Path(sys.executable), OURS, model, sizes)
            result[label] = {OURS: ours}
            for name in names:
                found = tried(envs, name, model, sizes)
                for n in [str(size) for size in sizes if "not_measured" not in found]:
                    # Each side against pred_contrib of its own process: the machine's mood cancels out.
                    faster = ours[n]["pred_contrib_to_this"] / found[n]["pred_contrib_to_this"]
                    found[n]["ours_faster"] = faster
                result[label][name] = found
                print(label, name, json.dumps(found), flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="ours alone, on a small model")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--envs", type=Path, default=Path(tempfile.gettempdir()) / "icp_ml_rivals")
    parser.add_argument("--only", choices=sorted(RIVALS))
    parser.add_argument("--part", choices=[OURS, *RIVALS])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.part:
        print(json.dumps(measure(args.part, args.model, args.sizes)))
        return
    names = [] if args.smoke else [args.only] if args.only else list(RIVALS)
    result = {"bar_faster": BAR, "models": compare(args.envs, names, args.smoke)}
    print(json.dumps(result, indent=1))
    if args.write and not args.smoke:
        (HERE / "rivals.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
