"""Figures as the text that Prometheus reads (exposition format 0.0.4): made when somebody asks, from the last value.

Rule: a symbol that has no distance has no line, and a state that no symbol is in says 0.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from worker.figures import Figures

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
STATES: Final = ("WARNING", "ACTIVE", "ENDED", "BLOCKED")
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Sample = tuple[str, int]  # labels as they are written, and the value


def exposition(figures: Figures, *, rebuilt: bool, lag_ms: int) -> str:
    """All metrics, in one order."""
    lines: list[str] = []
    for name, kind, words, samples in _families(figures, rebuilt, lag_ms):
        lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{labels} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _families(figures: Figures, rebuilt: bool, lag_ms: int) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    yield "adl_rebuilt", "gauge", "1 once the state is rebuilt.", [("", int(rebuilt))]
    yield "adl_lag_ms", "gauge", "Log time that is left to read, in milliseconds.", [("", lag_ms)]
    yield "adl_cuts_total", "counter", "Cuts since the pool began.", [("", figures.cuts)]
    yield "adl_decisions_total", "counter", "Decisions since the pool began.", [("", figures.decisions)]
    yield "adl_forced_trades_total", "counter", "Forced trades since the pool began.", [("", figures.forced_trades)]
    words = "Staged reductions that were asked for since the pool began."
    yield "adl_reductions_total", "counter", words, [("", figures.reductions)]
    yield "adl_dead_letters_total", "counter", "Messages refused since the pool began.", [("", figures.dead_letters)]
    yield "adl_ranks_total", "counter", "Records of adl-ranks since the process began.", [("", figures.ranks)]
    states = [(f'{{state="{state}"}}', figures.states.get(state, 0)) for state in STATES]
    yield "adl_symbols", "gauge", "Symbols in a state other than NORMAL.", states
    distances = [(_label(symbol), ppm) for symbol, ppm in sorted(figures.distance_ppm.items())]
    words = "Smallest shock that the funds would not cover, in millionths; *: of all symbols together."
    yield "adl_distance_ppm", "gauge", words, distances


def _label(symbol: str) -> str:
    return f'{{symbol="{symbol.translate(_ESCAPED)}"}}'
