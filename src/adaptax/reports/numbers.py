"""How numbers are written for people: as many digits as their interval supports, a true minus sign, units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

Number = int | float

NOTHING = "—"
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def decimals(half_widths: Iterable[Number], values: Iterable[Number]) -> int:
    """Decimal places for a group of numbers: two digits of the median interval's half width up to 3.54, else one.

    That is the Particle Data Group's rule; without any interval, three significant digits of the largest value.
    """
    widths = sorted(w for w in half_widths if math.isfinite(w) and w > 0)
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    scale = widths[len(widths) // 2] / 3.55 if widths else largest / 100
    return min(6, max(0, -math.floor(math.log10(scale)))) if scale > 0 else 0


def number(x: Number | None, places: int) -> str:
    """1234.5 -> "1,234.5", -0.5 -> "−0.5", NaN and infinities -> "—"."""
    if x is None or not math.isfinite(x):
        return NOTHING
    return f"{round(x, places) + 0.0:,.{places}f}".replace("-", "−")


def bracket(low: Number, high: Number, places: int) -> str:
    """An interval: "[1.2, 3.4]"."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOTHING
    return f"[{number(low, places)}, {number(high, places)}]"


def count(x: Number) -> str:
    """A whole number: "12,345"."""
    return number(x, 0)


def short(x: Number) -> str:
    """A number on an axis: 12000 -> "12k", 3.4e6 -> "3.4M"."""
    for factor, unit in UNITS:
        if abs(x) >= factor:
            return f"{x / factor:.3g}{unit}".replace("-", "−")
    return f"{x:.3g}".replace("-", "−")


def axis_labels(ticks: Sequence[Number]) -> list[str]:
    """Evenly spaced ticks in one unit, with the decimals that their step needs: 0, 2500000 -> "0", "2.5M"."""
    largest = max(map(abs, ticks), default=0.0)
    factor, unit = next(((f, u) for f, u in UNITS if largest >= max(f, 1e4)), (1.0, ""))
    step = (ticks[1] - ticks[0]) / factor if len(ticks) > 1 else 1.0
    places = next((p for p in range(9) if abs(step - round(step, p)) < 1e-6 * abs(step)), 9)
    return [number(tick / factor, places) + (unit if tick else "") for tick in ticks]


def percent(x: Number | None) -> str:
    return NOTHING if x is None or not math.isfinite(x) else f"{100 * x:.1f}%"


def duration(seconds: Number) -> str:
    """0.4 -> "0.40 s", 5 -> "5.0 s", 75 -> "1 min 15 s", 9000 -> "2 h 30 min"."""
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 59.5:
        places = 2 if seconds < 0.995 else 1 if seconds < 9.95 else 0
        return f"{seconds:.{places}f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_rest = divmod(minutes, 60)
    return f"{hours} h {minutes_rest} min" if hours else f"{minutes} min {rest} s"
