"""Plots for notebooks and slides: a frame in, the matplotlib Axes out; nothing is shown or saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from icp_ml.errors import ConfigError, MissingDependencyError, NotEnoughDataError
from icp_ml.view.wording import TARGET_VERBS, target_name
from icp_ml.visible import visible

if TYPE_CHECKING:
    import pandas as pd

    from icp_ml.insight.profile import Profile
    from icp_ml.model.evaluation import Evaluation

COLOURS = {"must_have": "#0f7a63", "nice_to_have": "#4b9c6f", "hard_no": "#b3352b", "caution": "#b9730c"}
GREY = "#6b7484"


def plot_traits(profile: Profile, *, target: str | None = None, most: int = 20, ax: Any = None) -> Any:
    """Draw the lift of each accepted trait with its interval, in percentage points.

    Parameters
    ----------
    profile
        A profile; only its accepted traits are drawn.
    target
        Only traits of this outcome. None: all.
    most
        Number of traits drawn, those with the largest lift.
    ax
        Axes to draw on. None: new ones.

    Returns
    -------
    The matplotlib Axes.

    Raises
    ------
    MissingDependencyError
        matplotlib isn't installed.
    NotEnoughDataError
        There is no accepted trait to draw.
    """
    traits = profile.traits[profile.traits["kind"].isin(["icp", "anti_icp"])]
    if target is not None:
        traits = traits[traits["target"] == target]
    if traits.empty:
        raise NotEnoughDataError(
            "expected at least one accepted trait, found none: profile.traits lists what was looked at",
            target=target,
        )
    traits = traits.loc[traits["lift"].abs().sort_values(ascending=False).index[:most]].sort_values("lift")
    axes = _axes(ax)
    place = np.arange(len(traits))
    lift, low, high = (100 * traits[name].to_numpy(dtype=float) for name in ("lift", "lift_low", "lift_high"))
    colours = [COLOURS.get(str(role), GREY) for role in traits["role"]]
    axes.hlines(place, low, high, colors=colours, alpha=0.55, linewidth=2.4)
    axes.scatter(lift, place, c=colours, s=36, zorder=3)
    axes.axvline(0.0, color=GREY, linewidth=1, linestyle=":")
    axes.set_yticks(place, [_trait_label(row) for row in traits.to_dict("records")])
    axes.set_xlabel("lift against the base rate, percentage points")
    axes.set_title("Traits that hold up, with intervals")
    return axes


def plot_calibration(evaluation: Evaluation, *, target: str = "retained", ax: Any = None) -> Any:
    """Draw predicted probability against realised rate per tenth of the accounts.

    Parameters
    ----------
    evaluation
        Result of :func:`icp_ml.evaluate`.
    target
        Which outcome.
    ax
        Axes to draw on. None: new ones.

    Returns
    -------
    The matplotlib Axes.

    Raises
    ------
    MissingDependencyError
        matplotlib isn't installed.
    ConfigError
        The evaluation doesn't know the target.
    """
    deciles = _deciles(evaluation, target)
    axes = _axes(ax)
    predicted, observed = deciles["predicted"].to_numpy(), deciles["observed"].to_numpy()
    low, high = deciles["observed_low"].to_numpy(), deciles["observed_high"].to_numpy()
    ends = [float(np.nanmin([predicted, observed, low])), float(np.nanmax([predicted, observed, high]))]
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1, label="right")
    axes.vlines(predicted, low, high, colors="#2457a6", alpha=0.55, linewidth=2)
    axes.scatter(predicted, observed, color="#2457a6", s=36, zorder=3, label="tenths of the accounts")
    axes.set_xlabel("predicted probability")
    axes.set_ylabel(f"share that {TARGET_VERBS.get(target, target)}")
    axes.set_title(f"Calibration of {target_name(target)}")
    axes.legend(frameon=False)
    return axes


def plot_lift(evaluation: Evaluation, *, target: str = "retained", ax: Any = None) -> Any:
    """Draw the lift of each tenth of the accounts, best scores first; 1 is the base rate.

    Parameters
    ----------
    evaluation
        Result of :func:`icp_ml.evaluate`.
    target
        Which outcome.
    ax
        Axes to draw on. None: new ones.

    Returns
    -------
    The matplotlib Axes.

    Raises
    ------
    MissingDependencyError
        matplotlib isn't installed.
    ConfigError
        The evaluation doesn't know the target.
    """
    deciles = _deciles(evaluation, target)
    axes = _axes(ax)
    axes.bar(deciles["decile"].to_numpy(), deciles["lift"].to_numpy(), color="#2457a6", alpha=0.8)
    axes.axhline(1.0, color=GREY, linestyle="--", linewidth=1)
    axes.set_xticks(deciles["decile"].to_numpy())
    axes.set_xlabel("tenth of the accounts, best scores first")
    axes.set_ylabel("rate as a multiple of the base rate")
    axes.set_title(f"Lift of {target_name(target)}")
    return axes


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "expected matplotlib for a plot, found none: pip install 'icp-ml[report]'", library="matplotlib"
        ) from error
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def _deciles(evaluation: Evaluation, target: str) -> pd.DataFrame:
    deciles = evaluation.deciles[evaluation.deciles["target"] == target]
    if deciles.empty:
        known = sorted(evaluation.deciles["target"].unique())
        raise ConfigError(f"expected a target of the evaluation, {known}, found {target!r}", found=target)
    return deciles.sort_values("decile")


def _trait_label(row: dict[Any, Any]) -> str:
    # A name is text: matplotlib reads what stands between dollars as mathematics.
    trait = visible(str(row["trait"]), one_line=True).replace("$", r"\$")
    return f"{trait} ({target_name(row['target'])}, n={row['n_accounts']:,})"
