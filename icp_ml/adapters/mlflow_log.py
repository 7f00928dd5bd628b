"""What a run leaves in MLflow: the dataset's name, the pyfunc with its signature, tables and figures."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import pandas as pd

from icp_ml.errors import InputWarning
from icp_ml.redact import without_secrets
from icp_ml.scratch import scratch_folder
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.record import RunRecord
from icp_ml.serve.score import NUMBERS, score_columns
from icp_ml.visible import shortened, visible

DEFAULT_REASONS = 3
#: Parameters of the pyfunc, with their defaults.
PARAMS = {"reasons": DEFAULT_REASONS, "explain": True}
LOADER = "icp_ml.adapters.mlflow"
#: As many as MLflow takes in one call.
_METRICS_AT_ONCE = 1000
_PARAMS_AT_ONCE = 100
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


def log_numbers(client: Any, run_id: str, record: RunRecord, model_id: str) -> None:
    """Note the metrics of a run, tied to its model and to the training data."""
    from mlflow.entities import Metric

    data = dataset_input(record)
    now = int(time.time() * 1000)
    metrics = [
        Metric(name, value, now, 0, model_id, data.name, data.digest, run_id)
        for name, value in record.metrics.items()
    ]
    for first in range(0, len(metrics), _METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=metrics[first : first + _METRICS_AT_ONCE])


def log_settings(client: Any, run_id: str, record: RunRecord) -> None:
    """Note the training data and the parameters of a run."""
    from mlflow.entities import DatasetInput, InputTag, Param
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    data = dataset_input(record)._to_mlflow_entity()
    client.log_inputs(run_id, datasets=[DatasetInput(data, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])])
    params = [Param(name, shown(str(value), MOST_PARAM)) for name, value in record.params.items()]
    for first in range(0, len(params), _PARAMS_AT_ONCE):
        client.log_batch(run_id, params=params[first : first + _PARAMS_AT_ONCE])


def log_tags(client: Any, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run."""
    from mlflow.entities import RunTag

    rows = [RunTag(name, shown(str(value))) for name, value in tags.items()]
    for first in range(0, len(rows), _PARAMS_AT_ONCE):
        client.log_batch(run_id, tags=rows[first : first + _PARAMS_AT_ONCE])


def log_model(
    client: Any, model: IcpModel, record: RunRecord, bundle: Path, run: Any, step: Callable[[str], None]
) -> str:
    """Log the bundle as a pyfunc and return the id of MLflow's logged model.

    It's written on this machine first, in a folder of ours, and counts as ready when all of it is uploaded.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    run_id = run.info.run_id
    step("opening the model")
    made = client.create_logged_model(
        run.info.experiment_id,
        name="model",
        source_run_id=run_id,
        tags=context_tags(record.tags),
        params={name: shown(str(value), MOST_PARAM) for name, value in record.params.items()},
        model_type="icp",
    )
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    described = Model(
        artifact_path=made.artifact_location, model_uuid=made.model_id, run_id=run_id, model_id=made.model_id
    )
    with scratch_folder() as folder:
        _write_pyfunc(folder / "model", described, model, record, bundle)
        step("uploading the model")
        client.log_model_artifacts(made.model_id, str(folder / "model"))
    client.finalize_logged_model(made.model_id, "READY")
    return str(made.model_id)


def context_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags with those that MLflow sets on what is logged: user, source, commit."""
    from mlflow.tracking.context.registry import resolve_tags

    found = resolve_tags(dict(tags))
    return bounded({name: without_secrets(str(value)) for name, value in found.items()})


def _write_pyfunc(folder: Path, described: Any, model: IcpModel, record: RunRecord, bundle: Path) -> None:
    import mlflow.pyfunc

    example = _wire(record.example)
    with warnings.catch_warnings():
        # MLflow warns of its own chat classes when pyfunc is first imported, and of its own use of pandas.
        warnings.filterwarnings("ignore", message=".*type hint", category=UserWarning)
        warnings.filterwarnings("ignore", message="Operation with range is deprecated")
        # MLflow scores the example, whose made-up values were never seen.
        warnings.simplefilter("ignore", InputWarning)
        mlflow.pyfunc.save_model(
            path=str(folder),
            mlflow_model=described,
            loader_module=LOADER,
            data_path=str(bundle),
            signature=_signature(model),
            input_example=(example, dict(PARAMS)) if len(example) else None,
            pip_requirements=_requirements(),
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


def log_files(client: Any, run_id: str, record: RunRecord) -> None:
    """Keep tables, facts, the model card and the drawn files beside the run."""
    with scratch_folder() as folder:
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
        client.log_artifacts(run_id, str(folder))
