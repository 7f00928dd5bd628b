"""The files that are kept beside a registered model: its report and its figures."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from icp_ml.errors import MissingDependencyError, NotEnoughDataError
from icp_ml.view.plots import plot_calibration, plot_lift, plot_traits
from icp_ml.view.report import render_report

if TYPE_CHECKING:
    from icp_ml.data.rejects import Rejects
    from icp_ml.model.evaluation import Evaluation
    from icp_ml.serve.icpmodel import IcpModel


def files_beside_model(
    rejects: Rejects | None = None,
) -> Callable[[IcpModel, Evaluation], dict[str, str | bytes]]:
    """Return what :func:`icp_ml.retrain` calls to draw the files of a version.

    Parameters
    ----------
    rejects
        What was refused when the tables were read, for the report.

    Returns
    -------
    A function of model and evaluation; it returns file name → text or bytes: ``icp_report.html`` and, where
    matplotlib is installed, PNG figures.
    """

    def draw(model: IcpModel, evaluation: Evaluation) -> dict[str, str | bytes]:
        page = render_report(model, evaluation=evaluation, rejects=rejects)
        return {"icp_report.html": page, **_figures(model, evaluation)}

    return draw


def _figures(model: IcpModel, evaluation: Evaluation) -> dict[str, str | bytes]:
    figures: dict[str, str | bytes] = {}
    try:
        for target in model.propensities:
            if (evaluation.deciles["target"] == target).any():
                figures[f"calibration_{target}.png"] = _png(plot_calibration(evaluation, target=target))
                figures[f"lift_{target}.png"] = _png(plot_lift(evaluation, target=target))
        if model.profile is not None:
            figures["traits.png"] = _png(plot_traits(model.profile))
    except (MissingDependencyError, NotEnoughDataError):
        return figures
    return figures


def _png(axes: Any) -> bytes:
    stream = io.BytesIO()
    # Without a software note the same figure is the same bytes under any matplotlib release of one drawing.
    axes.figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()
