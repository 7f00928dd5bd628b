"""Spark on this machine, for as long as a block runs."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

#: For a session of a minute: the JVM compiles once and plainly, which takes a third of the CPU.
SHORT = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}


def missing_spark() -> str:
    """Return what Spark lacks here; empty when nothing."""
    if find_spec("pyspark") is None:
        return "pyspark isn't installed"
    return "" if shutil.which("java") else "there is no Java"


@contextmanager
def local_spark(
    settings: Mapping[str, str], *, master: str = "local[1]", memory: str = "1g"
) -> Iterator[Any]:
    """Start Spark with further settings, and stop it when the block ends."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    here = {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": memory,
    }
    builder = SparkSession.builder.master(master).appName("icp_ml")
    for name, value in {**here, **settings}.items():
        builder = builder.config(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    try:
        yield session
    finally:
        session.stop()
