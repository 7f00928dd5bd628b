"""What a run leaves in MLflow: the dataset's name, the pyfunc with its signature, tables and figures."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from icp_ml.errors import InputWarning
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.record import RunRecord
from icp_ml.serve.score import NUMBERS, score_columns
from icp_ml.visible import shortened, visible

DEFAULT_REASONS = 3
#: Parameters of the pyfunc, with their defaults.
PARAMS = {"reasons": DEFAULT_REASONS, "explain": True}
LOADER = "icp_ml.adapters.mlflow"
_REQUIREMENTS = ("lightgbm", "scikit-learn", "numpy", "pandas", "pyarrow")


#: Most characters of a tag or description: what every store behind MLflow takes; and of a parameter.
MOST_TEXT, MOST_PARAM = 5_000, 6_000


def bounded(texts: Mapping[str, str], most: int = MOST_TEXT) -> dict[str, str]:
    """Return tags or parameters that MLflow takes whole and shows as they are."""
    return {name: shown(text, most) for name, text in texts.items()}


def shown(text: str, most: int = MOST_TEXT) -> str:
    """Return one text within a length, its control characters written out."""
    return shortened(visible(text), most)


def dataset_input(record: RunRecord) -> Any:
    """Name the training data by our own fingerprint: MLflow's digest doesn't see rows after the 10,000th."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    source = CodeDatasetSource(tags={"dataset_fingerprint": record.fingerprint})
    return MetaDataset(source=source, name="training", digest=record.fingerprint[:32])


def log_model(mlflow: ModuleType, model: IcpModel, record: RunRecord, bundle: Path) -> Any:
    """Log the bundle as a pyfunc and return MLflow's description of it."""
    example = _wire(record.example)
    with warnings.catch_warnings():
        # MLflow warns of its own chat classes when pyfunc is first imported, and of its own use of pandas.
        warnings.filterwarnings("ignore", message=".*type hint", category=UserWarning)
        warnings.filterwarnings("ignore", message="Operation with range is deprecated")
        # MLflow scores the example, whose made-up values were never seen.
        warnings.simplefilter("ignore", InputWarning)
        return mlflow.pyfunc.log_model(
            name="model",
            loader_module=LOADER,
            data_path=str(bundle),
            signature=_signature(model),
            input_example=(example, dict(PARAMS)) if len(example) else None,
            pip_requirements=_requirements(),
            model_type="icp",
            tags=bounded(record.tags),
            metadata={
                "icp_ml_features": {feature.name: feature.kind for feature in model.schema.features},
                "dataset_fingerprint": record.fingerprint,
            },
        )


def _signature(model: IcpModel) -> Any:
    """Describe the pyfunc's columns.

    Inputs are of any type and optional: MLflow's own checks refuse whole numbers where fractions were seen,
    unknown whole numbers and categories, and damage lists that hold nulls. ``conform`` checks instead, with
    named errors; the kinds stand in the model's metadata.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    days = ["as_of"] if model.schema.snapshot_date is None else ["as_of", model.schema.snapshot_date]
    keys = dict.fromkeys(["account_id", model.schema.account_id, *days])
    inputs = [ColSpec(AnyType(), name, required=False) for name in [*keys, *model.schema.names]]
    outputs = [
        ColSpec(DataType.double if name in NUMBERS else DataType.string, name, required=False)
        for name in score_columns(DEFAULT_REASONS)
        if name != "as_of"  # a time, which MLflow's Spark function can't return
    ]
    kinds = {"reasons": DataType.long, "explain": DataType.boolean}
    params = ParamSchema([ParamSpec(name, kinds[name], default) for name, default in PARAMS.items()])
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs), params=params)


def _wire(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows as JSON carries them: text, numbers, lists of text; dates as ISO text, unknown as None."""
    wire = frame.copy()
    for name in wire.columns:
        column = wire[name]
        if pd.api.types.is_datetime64_any_dtype(column):
            wire[name] = column.dt.strftime("%Y-%m-%d").astype(object).where(column.notna(), None)
        elif not pd.api.types.is_float_dtype(column):
            wire[name] = pd.Series([_plain_cell(cell) for cell in column], index=wire.index, dtype=object)
    return wire


def _plain_cell(cell: Any) -> Any:
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, list | tuple):
        return [str(item) for item in cell if item is not None]
    return None if pd.isna(cell) else cell


def _requirements() -> list[str]:
    from icp_ml import __version__

    return [f"icp-ml=={__version__}", *(f"{name}=={installed_version(name)}" for name in _REQUIREMENTS)]


def log_files(mlflow: ModuleType, record: RunRecord) -> None:
    """Keep tables, facts, the model card and the drawn files beside the run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tables").mkdir()
        for table, frame in record.tables.items():
            frame.to_parquet(folder / "tables" / f"{table}.parquet", index=False)
        (folder / "facts.json").write_text(
            json.dumps(record.facts, indent=1, sort_keys=True), encoding="utf-8"
        )
        (folder / "plan.json").write_text(json.dumps(record.plan, indent=1, sort_keys=True), encoding="utf-8")
        (folder / "model_card.md").write_text(record.card, encoding="utf-8")
        for file, content in record.files.items():
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        mlflow.log_artifacts(str(folder))
