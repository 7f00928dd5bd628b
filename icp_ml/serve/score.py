"""Scores for accounts: chances, expected NRR, tier, match, applicability and reasons, row by row.

A row's score depends on that row and the model only. The whole account base goes through the same function
in batches, so a score in a file equals the score of a frame bit for bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from scipy.special import expit

from icp_ml import parameters
from icp_ml.data.floor import FLOOR
from icp_ml.data.kinds import code_base
from icp_ml.errors import InputWarning
from icp_ml.insight.reasons import reason_texts
from icp_ml.model.columns import Columns
from icp_ml.model.contributions import sums_by_source
from icp_ml.serve.match import features_of, icp_match
from icp_ml.serve.reference import tiers
from icp_ml.serve.scoreinput import Accounts, Features, as_input, column_names, read_input

if TYPE_CHECKING:
    from icp_ml.model.ensemble import Ensemble
    from icp_ml.serve.icpmodel import IcpModel

Floats = npt.NDArray[np.float64]

BLOCK_ROWS = 16_384
NUMBERS = ("p_retained", "p_retained_low", "p_retained_high", "p_expanded", "expected_nrr", "icp_fit")


@dataclass(frozen=True, slots=True)
class InputGaps:
    """What the input lacked or had that training never saw; counted, so that batches can be added up.

    Parameters
    ----------
    rows
        Rows scored.
    missing
        Features whose column is absent → rows scored without it.
    unseen
        Feature → rows with a level or tool that training never saw.
    """

    rows: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    unseen: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: InputGaps) -> InputGaps:
        return InputGaps(
            self.rows + other.rows, _add(self.missing, other.missing), _add(self.unseen, other.unseen)
        )

    def text(self) -> str:
        """Return the gaps in words; empty when there are none."""
        parts = []
        if self.missing:
            parts.append(f"columns absent and taken as unknown: {_counted(self.missing)}")
        if self.unseen:
            parts.append(
                f"rows with levels or tools never seen in training, or in fewer than {FLOOR} accounts: "
                f"{_counted(self.unseen)}"
            )
        return f"{self.rows} rows scored; " + "; ".join(parts) if parts else ""

    def warn(self, *, stacklevel: int) -> None:
        """Issue one :class:`icp_ml.errors.InputWarning` when there are gaps."""
        if text := self.text():
            warnings.warn(text, InputWarning, stacklevel=stacklevel + 1)


def score_columns(reasons: int) -> list[str]:
    """Return the columns of a score table, in order."""
    return [
        "account_id",
        "as_of",
        *NUMBERS,
        "tier",
        "icp_match",
        "applicability",
        *(f"reason_{i}" for i in range(1, reasons + 1)),
        *(f"risk_{i}" for i in range(1, reasons + 1)),
        "model_version",
    ]


def arrow_schema(reasons: int, facts: Mapping[str, str] | None = None) -> Any:
    """Return the arrow types of a score table, with facts as metadata."""
    kinds = {"as_of": pa.timestamp("us"), **dict.fromkeys(NUMBERS, pa.float64())}
    fields = [pa.field(name, kinds.get(name, pa.string())) for name in score_columns(reasons)]
    return pa.schema(fields, metadata=facts)


def score_frame(model: IcpModel, features: pd.DataFrame, *, reasons: int = 3) -> pd.DataFrame:
    """Score a frame of accounts.

    Parameters
    ----------
    model
        A trained model.
    features
        Features frame, or the user's own frame of a ``Dataset.from_frame`` model. Order of rows and columns
        and extra columns don't matter; an absent feature column counts as unknown, with a warning.
    reasons
        How many reasons, and how many risks, to name per account; 0 is faster.

    Returns
    -------
    One row per row of ``features``, in its order, with the columns of ``Scores``: probabilities 0-1,
    ``expected_nrr`` as a ratio (1.0 = revenue kept), ``icp_fit`` 0-100 against the model's training accounts,
    missing reasons as None. Columns of a target the model doesn't have are NaN.

    Raises
    ------
    ConfigError
        ``reasons`` is no whole number from 0 to 100.
    InputMismatchError
        The frame has no account column, or a column can't be read as the model knows it.

    Warns
    -----
    InputWarning
        Feature columns are absent, or levels or tools were never seen in training; with counts.
    """
    scores, gaps = score_rows(model, features, reasons=reasons)
    gaps.warn(stacklevel=2)
    return scores


def score_rows(model: IcpModel, features: pd.DataFrame, *, reasons: int) -> tuple[pd.DataFrame, InputGaps]:
    """Score a frame and return the gaps of its input instead of warning about them."""
    with quiet_gaps():
        columns, gaps = _scored(model, features, reasons)
    return pd.DataFrame({name: _column(columns[name], gaps.rows) for name in score_columns(reasons)}), gaps


@contextmanager
def quiet_gaps() -> Iterator[None]:
    """Keep gaps from being told once per batch: they are counted, and told once by the caller.

    Warnings are a setting of the process, so this belongs around threads, not inside them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        yield


def score_batch(model: IcpModel, features: Features, *, reasons: int) -> tuple[Any, InputGaps]:
    """Score a frame or record batch inside :func:`quiet_gaps`; return an arrow table and its gaps."""
    columns, gaps = _scored(model, features, reasons)
    schema = arrow_schema(reasons)
    found = [_arrow(columns[name], schema.field(name).type, gaps.rows) for name in schema.names]
    return pa.Table.from_arrays(found, schema=schema), gaps


def _scored(model: IcpModel, features: Features, reasons: int) -> tuple[dict[str, Any], InputGaps]:
    """Return the columns of a score table, text of one value for all rows as that text, and the gaps."""
    reasons = parameters.whole("reasons", reasons, 0, parameters.MOST_REASONS)
    features = as_input(features)
    accounts = read_input(features, model.schema)
    read = accounts.columns
    absent = dict.fromkeys(absent_features(model, column_names(features)), read.n_rows)
    numbers, texts = _explained(model, accounts, reasons)
    known = [name for name in features_of(model.profile) if name in model.schema.names]
    match, refused = icp_match(model.profile, accounts.frame(known))
    columns: dict[str, Any] = {
        "account_id": accounts.ids,
        "as_of": accounts.as_of,
        **numbers,
        "tier": tiers(numbers["icp_fit"], refused),
        "icp_match": match,
        "applicability": model.reference.applicability(read),
        **texts,
        "model_version": model.version,
    }
    return columns, InputGaps(read.n_rows, absent, model.reference.unseen(read))


def _arrow(values: Any, kind: Any, rows: int) -> Any:
    if isinstance(values, str):
        return pa.repeat(pa.scalar(values, kind), rows)
    if isinstance(values, pa.ChunkedArray):
        return values
    if isinstance(values, pa.Array):
        return values.cast(kind)
    if isinstance(values, pd.Categorical):
        return pa.array(values).cast(kind)
    return pa.array(values.array if isinstance(values, pd.Series) else values, type=kind, from_pandas=True)


def absent_features(model: IcpModel, columns: Iterable[object]) -> list[str]:
    """Return the features that neither a column nor the code that a column holds can give."""
    given = {str(name) for name in columns}
    bases = {name: code_base(name) for name in model.schema.names}
    return [name for name, base in bases.items() if name not in given and (not base or base[0] not in given)]


def _explained(model: IcpModel, accounts: Accounts, count: int) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Return the numbers and the texts of every row, block by block: encoded matrices are wide."""
    numbers: list[dict[str, Floats]] = []
    texts: list[dict[str, Any]] = []
    for start in range(0, max(accounts.columns.n_rows, 1), BLOCK_ROWS):
        own = accounts.columns.take(slice(start, start + BLOCK_ROWS))
        found, parts = _numbers(model, own, explain=count > 0)
        numbers.append(found)
        if parts is not None:
            lists = {name: column.slice(start, BLOCK_ROWS) for name, column in accounts.lists.items()}
            texts.append(_reasons(model, lists, own, parts, count))
    return (
        {name: np.concatenate([block[name] for block in numbers]) for name in NUMBERS},
        {name: pa.chunked_array([block[name] for block in texts]) for name in (texts[0] if texts else ())},
    )


def _numbers(model: IcpModel, read: Columns, *, explain: bool) -> tuple[dict[str, Floats], Floats | None]:
    """Return the numbers of a block and, if asked for, the contributions per encoded column.

    Contributions are to the chance of retention where the model knows it.
    """
    unknown = np.full(read.n_rows, np.nan)
    chances: dict[str, Floats] = {}
    low, high, parts = unknown, unknown, None
    for target, ensemble, matrix in _encoded(model, read):
        if target == "retained":
            log_odds, (low, high), parts = ensemble.explained(matrix)
        else:
            log_odds = ensemble.log_odds(matrix)
            if explain and "retained" not in model.ensembles:
                parts = ensemble.contributions(matrix)
        chances[target] = expit(log_odds)
    expected = model.reference.ratios.expected(chances.get("retained"), chances.get("expanded"))
    numbers = {
        "p_retained": chances.get("retained", unknown),
        "p_retained_low": low,
        "p_retained_high": high,
        "p_expanded": chances.get("expanded", unknown),
        "expected_nrr": unknown if expected is None else expected,
    }
    numbers["icp_fit"] = model.reference.percentile(numbers[model.reference.basis])
    return numbers, parts if explain else None


def _encoded(model: IcpModel, read: Columns) -> Iterator[tuple[str, Ensemble, Floats]]:
    """Yield target, ensemble and its encoded matrix, which holds until the next one is asked for."""
    parts, matrix = None, np.zeros((0, 0))
    for target, ensemble in model.ensembles.items():
        if ensemble.encoder.parts == parts:
            ensemble.encoder.recode(matrix, read)
        else:
            matrix, parts = ensemble.encoder.transform(read, order="F"), ensemble.encoder.parts
        yield target, ensemble, matrix


def _reasons(
    model: IcpModel, lists: Mapping[str, Any], read: Columns, parts: Floats, count: int
) -> dict[str, Any]:
    """Name what pushes an account's chance up and down; arrow arrays of text."""
    target = "retained" if "retained" in model.ensembles else "expanded"
    encoder = model.ensembles[target].encoder
    shown, encoded = model.schema.names, (parts, encoder)
    values = sums_by_source(parts, encoder.source_of, len(shown))
    return reason_texts(values, shown, lists, model.schema, count=count, encoded=encoded, read=read)


def _column(values: Any, rows: int) -> pd.Series[Any]:
    """Return a column whose dtype doesn't depend on what happens to be in the batch."""
    if isinstance(values, str):
        return pd.Series([values], dtype=object).repeat(rows).reset_index(drop=True)
    if isinstance(values, pa.ChunkedArray | pa.Array):
        return pd.Series(values.to_numpy(zero_copy_only=False), dtype=object)
    if isinstance(values, pd.Series | pd.Categorical):
        return pd.Series(values).astype(object)
    return pd.Series(values)


def _add(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {
        name: left.get(name, 0) + right.get(name, 0) for name in [*left, *(k for k in right if k not in left)]
    }


def _counted(counts: Mapping[str, int]) -> str:
    shown = [f"{name} ({count} rows)" for name, count in list(counts.items())[:5]]
    rest = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
