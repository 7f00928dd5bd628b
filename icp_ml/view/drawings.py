"""Small pictures as inline SVG: numbers in, markup out; colours come from the page's style sheet.

Every picture has a title that a screen reader can say, scales with its box, and needs no script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from icp_ml.view.wording import MINUS, known, points, share

STRIP_WIDTH = 260
STRIP_HEIGHT = 26
PLOT_WIDTH = 420
PLOT_HEIGHT = 300
MARGIN = (58, 22, 14, 42)  # left, right, top, bottom


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from values to pixels; values outside are drawn at the edge.

    Examples
    --------
    >>> Scale(0.0, 1.0, 10.0, 110.0)(0.5)
    60.0
    """

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + part * (self.stop - self.start)


def strip_scale(lows: Sequence[float], highs: Sequence[float]) -> Scale:
    """Return one symmetric scale for all interval strips of a page, in share units around the base rate.

    Parameters
    ----------
    lows, highs
        Interval ends of all lifts on the page; unknown ones are passed over.

    Examples
    --------
    >>> strip_scale([-0.02, 0.01], [0.08, 0.12]).high
    0.15
    """
    ends = [abs(value) for value in (*lows, *highs) if known(value)]
    reach = max([0.05, *ends])
    rounded = round(math.ceil(reach / 0.05 - 1e-9) * 0.05, 2)
    return Scale(-rounded, rounded, 8.0, STRIP_WIDTH - 8.0)


def interval_strip(lift: float, low: float, high: float, scale: Scale, *, css: str) -> Markup:
    """Draw one lift with its interval on a line whose middle is the base rate.

    Parameters
    ----------
    lift, low, high
        Differences to the base rate, in share units.
    scale
        See :func:`strip_scale`; the same for all strips of a page.
    css
        Class of the drawing, such as the role of the trait.

    Returns
    -------
    An ``<svg>`` element, or empty markup where the lift is unknown.
    """
    if not known(lift):
        return Markup()
    middle, y = scale(0.0), STRIP_HEIGHT / 2
    has_interval = known(low) and known(high)
    title = f"{points(lift)} points against the base rate"
    parts = [f'<line class="zero" x1="{middle:.1f}" x2="{middle:.1f}" y1="2" y2="{STRIP_HEIGHT - 2}"/>']
    if has_interval:
        title += f", interval {points(low)} to {points(high)}"
        x1, x2 = scale(low), scale(high)
        parts.append(f'<line class="range" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y}" y2="{y}"/>')
        parts += [
            f'<line class="end" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 4}" y2="{y + 4}"/>' for x in (x1, x2)
        ]
    parts.append(f'<circle class="dot" cx="{scale(lift):.1f}" cy="{y}" r="4.5"/>')
    return _svg(STRIP_WIDTH, STRIP_HEIGHT, f"strip {css}", title, parts)


def strip_axis(scale: Scale) -> Markup:
    """Draw the axis that stands above the interval strips, in percentage points."""
    ticks = [scale.low, scale.low / 2, 0.0, scale.high / 2, scale.high]
    parts = []
    for tick in ticks:
        anchor = "start" if tick == scale.low else "end" if tick == scale.high else "middle"
        label = "base" if tick == 0 else _tick_points(tick)
        parts.append(f'<text x="{scale(tick):.1f}" y="13" text-anchor="{anchor}">{label}</text>')
    return _svg(STRIP_WIDTH, 18, "strip axis", "percentage points against the base rate", parts)


def calibration_plot(points_: Sequence[tuple[float, float, float, float]]) -> Markup:
    """Draw what was predicted against what happened, a dot per tenth of the accounts.

    Parameters
    ----------
    points_
        (mean predicted probability, realised rate, low, high) per bin; unknown bins are passed over, and an
        unknown interval is not drawn.

    Returns
    -------
    An ``<svg>`` element, or empty markup when there is nothing to draw.
    """
    dots = [point for point in points_ if known(point[0]) and known(point[1])]
    if not dots:
        return Markup()
    values = [value for point in dots for value in point if known(value)]
    low, high = _rounded_range(min(values), max(values))
    x, y = _axes(low, high, low, high)
    parts = [*_grid(x, y), _line("ideal", x(low), y(low), x(high), y(high))]
    for predicted, realised, bottom, top in dots:
        if known(bottom) and known(top):
            parts.append(_line("range", x(predicted), y(bottom), x(predicted), y(top)))
        parts.append(f'<circle class="dot" cx="{x(predicted):.1f}" cy="{y(realised):.1f}" r="4.5"/>')
    parts += _axis_titles("predicted probability", "realised rate")
    return _svg(PLOT_WIDTH, PLOT_HEIGHT, "plot calibration", "Calibration: predicted against realised", parts)


def decile_plot(rates: Sequence[float], base_rate: float, *, outcome: str) -> Markup:
    """Draw the realised rate per tenth of accounts, from the highest scores to the lowest.

    Parameters
    ----------
    rates
        Realised rate per decile, best scores first; shares.
    base_rate
        Rate over all accounts, drawn as a line.
    outcome
        Words for what happened, such as ``stayed``.
    """
    if not any(known(rate) for rate in rates):
        return Markup()
    left, right, top, bottom = MARGIN
    highest = max([base_rate, *(rate for rate in rates if known(rate))])
    ceiling = min(1.0, math.ceil(highest * 10 + 1e-9) / 10) or 1.0
    y = Scale(0.0, ceiling, PLOT_HEIGHT - bottom, top)
    step = (PLOT_WIDTH - left - right) / len(rates)
    parts = _horizontal_grid(y)
    for place, rate in enumerate(rates):
        x0 = left + place * step
        if known(rate):
            height = y(0.0) - y(rate)
            parts.append(
                f'<rect class="bar" x="{x0 + step * 0.14:.1f}" y="{y(rate):.1f}" width="{step * 0.72:.1f}" '
                f'height="{height:.1f}" rx="2"><title>{share(rate, 1)}</title></rect>'
            )
        parts.append(_tick_label(x0 + step / 2, str(place + 1)))
    parts.append(_line("ideal", left, y(base_rate), PLOT_WIDTH - right, y(base_rate)))
    parts += _axis_titles("tenth of the accounts, best scores first", f"share that {outcome}")
    return _svg(
        PLOT_WIDTH, PLOT_HEIGHT, "plot deciles", f"Share that {outcome} by tenth of the scores", parts
    )


def _svg(width: float, height: float, css: str, title: str, parts: Sequence[str]) -> Markup:
    opening = (
        f'<svg class="{escape(css)}" viewBox="0 0 {width} {height}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>'
    )
    # Parts are drawn by the functions of this file, which escape every text.
    return Markup(opening + "".join(parts) + "</svg>")  # noqa: S704


def _line(css: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _tick_label(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{PLOT_HEIGHT - MARGIN[3] + 15}" text-anchor="middle">{text}</text>'


def _tick_points(value: float) -> str:
    text = f"{abs(100 * value):.1f}".removesuffix(".0")
    return f"{'+' if value > 0 else MINUS}{text}"


def _rounded_range(low: float, high: float) -> tuple[float, float]:
    start = max(0.0, math.floor(low * 10 + 1e-9) / 10)
    stop = min(1.0, math.ceil(high * 10 - 1e-9) / 10)
    return (start, stop) if stop > start else (start, start + 0.1)


def _axes(x_low: float, x_high: float, y_low: float, y_high: float) -> tuple[Scale, Scale]:
    left, right, top, bottom = MARGIN
    return (
        Scale(x_low, x_high, left, PLOT_WIDTH - right),
        Scale(y_low, y_high, PLOT_HEIGHT - bottom, top),
    )


def _ticks(scale: Scale) -> list[float]:
    return [scale.low + (scale.high - scale.low) * part / 4 for part in range(5)]


def _horizontal_grid(y: Scale) -> list[str]:
    left, right, _, _ = MARGIN
    parts = []
    for tick in _ticks(y):
        parts.append(_line("grid", left, y(tick), PLOT_WIDTH - right, y(tick)))
        parts.append(f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{share(tick)}</text>')
    return parts


def _grid(x: Scale, y: Scale) -> list[str]:
    _, _, top, bottom = MARGIN
    parts = _horizontal_grid(y)
    for tick in _ticks(x):
        parts.append(_line("grid", x(tick), top, x(tick), PLOT_HEIGHT - bottom))
        parts.append(_tick_label(x(tick), share(tick)))
    return parts


def _axis_titles(x_title: str, y_title: str) -> list[str]:
    left, right, top, bottom = MARGIN
    middle_x = left + (PLOT_WIDTH - left - right) / 2
    middle_y = top + (PLOT_HEIGHT - top - bottom) / 2
    places = [
        (f"translate({middle_x:.1f} {PLOT_HEIGHT - 6})", x_title),
        (f"translate(11 {middle_y:.1f}) rotate(-90)", y_title),
    ]
    return [
        f'<text class="name" transform="{place}" text-anchor="middle">{escape(title)}</text>'
        for place, title in places
    ]
