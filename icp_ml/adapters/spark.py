"""Scores on Spark: the same kernel in every partition, the model shipped once as a bundle's bytes."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from icp_ml.errors import ConfigError, InputWarning, MissingDependencyError
from icp_ml.scratch import scratch_folder
from icp_ml.serve.bundle import load, save
from icp_ml.serve.score import NUMBERS, absent_features, quiet_gaps, score_batch, score_columns
from icp_ml.serve.sources import is_wanted

if TYPE_CHECKING:
    from icp_ml.serve.icpmodel import IcpModel

Kernel = Callable[[Iterator[Any]], Iterator[Any]]


def score_spark(df: Any, model: IcpModel | str | Path, *, reasons: int = 3) -> Any:
    """Score a Spark DataFrame of features.

    The model is resolved once, here on the driver: an alias that is moved while the job runs changes nothing.
    It travels to the executors as bytes, and a worker process reads it once.

    Parameters
    ----------
    df
        ``pyspark.sql.DataFrame`` of features, one row per account; columns as for
        :func:`icp_ml.score_frame`, technologies as ``array<string>``. Other columns are left behind.
    model
        A trained model, a bundle's folder, or an address such as ``models:/icp@champion``.
    reasons
        Reasons and risks per account.

    Returns
    -------
    ``pyspark.sql.DataFrame`` with the columns of :func:`icp_ml.score_frame`, one row per row of ``df``, in
    the same partitions. Nothing is computed before an action asks for it.

    Raises
    ------
    ConfigError
        ``reasons`` is negative.
    MissingDependencyError
        pyspark isn't installed.

    Warns
    -----
    InputWarning
        Feature columns are absent and count as unknown.

    Notes
    -----
    A row that can't be read fails its task, whose error names the partition; no row is left out. icp_ml must
    be installed on the executors. Spark Classic and Connect work alike.
    """
    if reasons < 0:
        raise ConfigError(f"expected reasons of 0 or more, found {reasons}", reasons=reasons)
    schema = _spark_schema(reasons)
    found = _resolved(model)
    absent = absent_features(found, df.columns)
    if absent:
        warnings.warn(
            f"columns absent and taken as unknown: {', '.join(absent[:5])}", InputWarning, stacklevel=2
        )
    wanted = [f"`{name}`" for name in df.columns if is_wanted(name, found.schema)]
    return df.select(*wanted).mapInArrow(_kernel(_packed(found), found.version, reasons), schema)


def _resolved(model: IcpModel | str | Path) -> IcpModel:
    if not isinstance(model, str | Path):
        return model
    from icp_ml.adapters.mlflow import load as load_address

    return load_address(str(model))


def _spark_schema(reasons: int) -> Any:
    try:
        from pyspark.sql.types import (
            DoubleType,
            StringType,
            StructField,
            StructType,
            TimestampNTZType,
        )
    except ImportError as problem:
        raise MissingDependencyError('expected pyspark, found none: pip install "icp-ml[spark]"') from problem
    kinds = {"as_of": TimestampNTZType(), **dict.fromkeys(NUMBERS, DoubleType())}
    return StructType(
        [StructField(name, kinds.get(name, StringType()), True) for name in score_columns(reasons)]
    )


def _packed(model: IcpModel) -> bytes:
    """Return a bundle as one zip file, the same bytes for the same model."""
    with scratch_folder() as name:
        folder = name / "bundle"
        save(model, folder)
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    info = zipfile.ZipInfo(file.relative_to(folder).as_posix())
                    archive.writestr(info, file.read_bytes(), zipfile.ZIP_DEFLATED)
        return content.getvalue()


@lru_cache(maxsize=2)
def _unpacked(content: bytes, version: str) -> IcpModel:
    """Read a bundle once per worker process."""
    with scratch_folder() as name:
        folder = name / "bundle"
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(folder)
        return replace(load(folder), version=version)


def _kernel(content: bytes, version: str, reasons: int) -> Kernel:
    """Return what every partition runs; it carries the model's bytes and nothing of the driver."""

    def score_partition(batches: Iterator[Any]) -> Iterator[Any]:
        with _InPartition():
            model = _unpacked(content, version)
            for batch in batches:
                with quiet_gaps():
                    scores, _ = score_batch(model, batch, reasons=reasons)
                yield from scores.to_batches()

    return score_partition


class _InPartition:
    """Name the partition in whatever error leaves it."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, GeneratorExit):
            from pyspark import TaskContext

            context = TaskContext.get()
            number = "unknown" if context is None else context.partitionId()
            error.add_note(
                f"while scoring partition {number}: no row of it was left out, correct it and rerun"
            )
