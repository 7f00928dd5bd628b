"""Frames of every dtype through pyfunc, HTTP and Spark: the model's own scores, or a named error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.mlflow, pytest.mark.xdist_group("spark")]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def roundtrip(script: Callable[[str], Any]) -> Iterator[Any]:
    """The experiment; what it sets for its own process is taken back."""
    before, address = dict(os.environ), mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    yield script("lifecycle/roundtrip.py")
    os.environ.clear()
    os.environ.update(before)
    mlflow.set_tracking_uri(address)


@pytest.fixture(scope="module")
def logged(roundtrip: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("roundtrip")
    model, plain = roundtrip.model_and_base()
    return roundtrip.log(model, folder), model, plain, folder


@pytest.mark.parametrize("kind", ["pyfunc", "REST", "Spark"])
@pytest.mark.filterwarnings("ignore")
def test_every_dtype_scores_as_the_model_itself_or_ends_in_a_named_error(
    roundtrip: Any, logged: Any, kind: str
) -> None:
    if kind == "Spark" and roundtrip.missing_spark():
        pytest.skip(roundtrip.missing_spark())
    uri, model, plain, folder = logged
    found = roundtrip.outcomes(kind, uri, model, plain, folder, roundtrip.CASES)
    names = [case.name for case in roundtrip.CASES]
    bad = {
        (way, name): said
        for way, outcomes in found.items()
        for name, said in zip(names, outcomes, strict=True)
        if not roundtrip.is_good(said)
    }
    assert bad == {}
    assert all(outcomes.count("equal") >= 40 for outcomes in found.values())


def test_an_unknown_parameter_over_http_is_named(roundtrip: Any, logged: Any) -> None:
    uri, _, plain, folder = logged
    with roundtrip.served(uri, folder) as address:
        for orient in ("split", "records"):
            way = roundtrip.rest_way(address, orient)
            for wrong in ({"topk": 2}, {"reasons": -1}):
                with pytest.raises(roundtrip.RefusedError, match="InputMismatchError"):
                    way(plain, wrong)
            with pytest.raises(roundtrip.RefusedError, match="Failed to validate"):
                way(plain, {"reasons": "three"})
            assert "reason_1" not in way(plain, {"explain": False})


SPARK_DRIVER = """
import sys
sys.path.insert(0, sys.argv[1])
import mlflow
from pathlib import Path
import roundtrip
mlflow.set_tracking_uri(sys.argv[2])
with roundtrip.spark_session(Path(sys.argv[3])) as spark:
    udf = mlflow.pyfunc.spark_udf(spark, roundtrip.ADDRESS, env_manager="local", params={"topk": 2})
    print("MADE")
    from icp_ml.adapters.mlflow import load
    mlflow.pyfunc.load_model(roundtrip.ADDRESS)
    try:
        mlflow.pyfunc.spark_udf(spark, roundtrip.ADDRESS, env_manager="local", params={"topk": 2})
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_on_spark_an_unknown_parameter_is_refused_only_where_the_driver_has_loaded_the_model(
    roundtrip: Any, logged: Any
) -> None:
    """MLflow's ``spark_udf`` drops unknown parameters on a driver that never runs code of the model."""
    if roundtrip.missing_spark():
        pytest.skip(roundtrip.missing_spark())
    uri, _, _, folder = logged
    command = [sys.executable, "-W", "ignore", "-c", SPARK_DRIVER]
    command += [str(ROOT / "experiments" / "lifecycle"), uri, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert "MADE" in done.stdout, done.stderr[-2000:]
    assert "InputMismatchError expected the parameters reasons or explain only, found ['topk']" in done.stdout
