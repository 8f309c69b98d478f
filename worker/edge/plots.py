"""A comparison as pictures, by matplotlib, which is asked for only here: leverage before and after, and who paid.

Rule: the same figures give the same bytes, with the same version of matplotlib.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from worker.curves import Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MISSING: Final = "plots need matplotlib: pip install 'adl-worker[plot]'"
LEVERAGE_FILE: Final = "leverage.svg"
PAID_FILE: Final = "who-paid.svg"
POINTS_MAX: Final = 400  # of a line
# No name of an element may be drawn by chance, and no text may depend on the fonts of this machine.
STYLE: Final[Any] = {"svg.hashsalt": "adl", "svg.fonttype": "none", "font.size": 9}


class NoPlotsError(Exception):
    """matplotlib is not installed; the message says what to do."""


def draw(curves: Sequence[Curves], folder: Path) -> list[Path]:
    """Writes both pictures and returns their paths; raises NoPlotsError."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise NoPlotsError(MISSING) from None
    with mpl.rc_context(STYLE):
        rows = -(-len(curves) // 2)
        leverage, paid = Figure((9, 2.6 * rows), layout="constrained"), Figure((9, 4), layout="constrained")
        _draw_leverage(leverage, rows, curves)
        _draw_paid(paid, curves)
        paths = [folder / LEVERAGE_FILE, folder / PAID_FILE]
        for figure, path in zip((leverage, paid), paths, strict=True):
            figure.savefig(path, format="svg", metadata={"Date": None})
    return paths


def _draw_leverage(figure: "Figure", rows: int, curves: Sequence[Curves]) -> None:
    """One panel a policy: how many of the accounts asked stand at most at which leverage, before and after."""
    panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).flatten()
    for panel, curve in zip(panels, curves, strict=False):
        for values, words, style in ((curve.leverage_before, "before", "--"), (curve.leverage_after, "after", "-")):
            finite = values[np.isfinite(values)]  # insolvent accounts have no leverage
            if finite.size:
                shares = np.linspace(0, 1, POINTS_MAX)
                panel.plot(np.quantile(finite, shares), shares, style, color="C0", label=words)
        panel.set_xscale("symlog", linthresh=1)
        panel.set_title(f"{curve.policy}: {curve.leverage_before.size:,} times asked")
        panel.set_xlabel("leverage")
        panel.set_ylabel("share of them at most there")
        panel.grid(visible=True, alpha=0.3)
    for panel in panels[len(curves) :]:
        panel.set_axis_off()
    panels[0].legend(*_legend(panels[0]), loc="lower right")


def _draw_paid(figure: "Figure", curves: Sequence[Curves]) -> None:
    """Lorenz curves with the largest first: which share of all is borne by which share of those who could be asked."""
    haircuts, notionals = figure.subplots(1, 2, sharey=True)
    for panel, words, values in (
        (haircuts, "haircuts", [curve.haircut for curve in curves]),
        (notionals, "notional taken", [curve.notional for curve in curves]),
    ):
        for curve, amounts in zip(curves, values, strict=True):
            if amounts.sum() > 0:
                panel.plot(*_lorenz(amounts), label=curve.policy)
        panel.set_xscale("log")
        panel.set_title(words if any(amounts.sum() > 0 for amounts in values) else f"no {words}")
        panel.set_xlabel("share of accounts that could be asked, largest first")
        panel.grid(visible=True, alpha=0.3)
    haircuts.set_ylabel("share of all")
    notionals.legend(*_legend(notionals), loc="lower right")


def _lorenz(amounts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    total = np.cumsum(np.sort(amounts)[::-1])
    places = np.unique(np.geomspace(1, total.size, POINTS_MAX).astype(np.int64))
    return places / total.size, total[places - 1] / total[-1]


def _legend(panel: "Axes") -> tuple[list[Any], list[Any]]:
    handles, labels = panel.get_legend_handles_labels()
    return list(handles), list(labels)
