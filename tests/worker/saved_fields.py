"""Every attribute of everything an engine is made of: kept in a snapshot, or made anew, and how.

An attribute that is in neither list fails the test of `test_saved.py`: whoever adds state decides here.
"""

from collections.abc import Mapping

import msgspec
import numpy as np

from worker.book.book import Book
from worker.book.holders import Holders
from worker.book.isolated import Side
from worker.book.leg_rows import LegRows
from worker.book.market import Market
from worker.book.names import Names
from worker.book.owners import Owners
from worker.book.slots import Slots
from worker.book.table import Table
from worker.decide import Case
from worker.engine import Engine
from worker.funds import Funds
from worker.held import Held
from worker.output import OutputLog
from worker.poison import Poison
from worker.reductions import Reductions
from worker.risk import Risk
from worker.solvent import SolventMarks
from worker.states import Highest, Machine, Needed, States

# Kept: equal in the engine that was saved and in the one that was loaded.
KEPT = {
    Engine: (
        "_book _cases _known _ledger_digest _marks_before _paused _policy_said _roots _solvent _solvent_digest "
        "_unanswered counts cut_number funds held outputs poison policy reductions risk states"
    ),
    Book: (
        "_closed _dirty _emptied _lifted _market _placed _rungs _sides _slots _table _terms accounts markets owners "
        "parked symbols"
    ),
    Names: "_following _gone _heads _order _rank spans state words",
    Table: "cells",
    Slots: "heap holders table",
    Holders: "seats table",
    Market: "cell event_time_ms instrument log_time_ms lots_limit mark mark_num parked",
    Side: "_changed _found _sums",
    Held: "_accounts _decisions _free _legs _rows _used",
    LegRows: "",
    Owners: "_accounts _following _gone _heads _order _rank spans state words",
    Poison: "_count _minute",
    Needed: "_later since_ms",
    Funds: "_balance _draws",
    Risk: "_common _rows _tail digest model_digest name",
    Reductions: "_used digest",
    SolventMarks: "_kept _last",
    OutputLog: "heads",
    States: (
        "_acted _blocked _fallen _forecast _forecast_ms _funds _highest _machines _named _pool_machine _pool_said "
        "_needed _said _turn _unnamed _warned _watched_ms counts distance_ppm"
    ),
    Highest: "_falling",
    Machine: "busy_ms state trigger",
    Case: "attempt claims decision_id gone held_reason released replacement",
}

OF_NAMES = {
    "kind most": "constants",
    "_recent": "the names asked for last",
    "given_up": "for the ranks, which begin anew",
    "_asked _asked_bytes": "room for one name",
    "_hashed _hashes": "made when they are asked for",
    "capacity _counts _text _span_cells _text_bytes": "views of the columns",
}

# Not kept: why.
ANEW = {
    Engine: {
        "settings _code_digest _settings_digest _notes_solvent pool live _start": "given by who starts",
        "_folded _letters _marks_moved _new _openings _refused _triggered _waiting": "empty at a cut",
        "_handlers": "the engine's own methods",
        "_silent": "a loaded engine says its advice again",
        "ranks": "every place is told anew after a restart",
        "silent_until_ms": "set by who replays",
    },
    Book: {
        "converting currency currency_decimals": "settings",
        "_rare _total": "two parts of one digest, made anew from every cell",
        "_lifted_one _notes_one _one": "room for one account",
    },
    Names: OF_NAMES,
    Owners: OF_NAMES | {"_left": "empty at a cut"},
    Table: {"_most": "a constant", "capacity columns": "views of the cells"},
    Slots: {"_accounts": "the book's table", "_heap": "a view of the heap"},
    Market: {"_said den key row scale symbol": "follow from the instrument", "holders": "the book's"},
    Side: {"_number": "the name it has in the book", "_short": "follows from the number"},
    Held: {"_book": "the engine's"},
    LegRows: {"_ids _following _heads _high _low _next _first": "columns of their own, and views of them"},
    Needed: {"_quiet_ms": "settings"},
    Reductions: {
        "_known _passed cool_down_ms tiers": "follow from settings",
        "_cross": "found anew by `recover`, which goes before what asks for it",
    },
    SolventMarks: {"_book": "the engine's"},
    OutputLog: {"_pending": "empty at a cut", "_pool encodings": "settings"},
    States: {
        "_pool _ppm _settings": "settings",
        "_again": "a loaded engine says its advice again",
        "_forecasts_from_ms": "set by who replays",
    },
    Highest: {"_window_ms": "a constant"},
}


def attributes(thing):
    """Names of all that an object holds."""
    slots = {name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())}
    return (slots | set(getattr(thing, "__dict__", ()))) - {"__weakref__", "__dict__"}


def differences(one, other, place="engine"):
    """Where two states differ in what is kept, or hold what nobody has decided about."""
    kind = type(one)
    if kind is not type(other):
        yield f"{place}: {kind.__name__} became {type(other).__name__}"
    elif kind in KEPT:
        kept, anew = set(KEPT[kind].split()), {name for names in ANEW.get(kind, ()) for name in names.split()}
        yield from (f"{kind.__name__}.{name} is in no list" for name in attributes(one) ^ (kept | anew))
        for name in sorted(kept):
            mine, theirs = getattr(one, name), getattr(other, name)
            if kind is Slots and name == "table":  # behind those that are used stands what was given back
                mine, theirs = one.table.cells[:, : one.used], other.table.cells[:, : other.used]
            yield from differences(mine, theirs, f"{place}.{name}")
    elif isinstance(one, np.ndarray):
        yield from _of_arrays(one, other, place)
    elif isinstance(one, Mapping):
        if one.keys() != other.keys():
            yield f"{place}: other keys"
        else:
            for key in one:
                yield from differences(one[key], other[key], f"{place}[{key!r}]")
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            yield f"{place}: {len(one)} became {len(other)}"
        else:
            for at, (mine, theirs) in enumerate(zip(one, other, strict=True)):
                yield from differences(mine, theirs, f"{place}[{at}]")
    elif _is_ours(kind):
        yield f"{place}: {kind.__name__} is in no list"
    elif one != other:
        yield f"{place}: {one!r} became {other!r}"


def _is_ours(kind):
    """Whether it is a class of the worker with an equality that may look past what it holds."""
    values = issubclass(kind, msgspec.Struct) or hasattr(kind, "__dataclass_fields__")
    return kind.__module__.startswith("worker") and not values


def _of_arrays(one, other, place):
    """Room behind what is used may differ in size, and holds zeros."""
    size = min(one.shape[-1], other.shape[-1]) if one.ndim < 3 else min(len(one), len(other))
    same = (one[:size], other[:size]) if one.ndim != 2 else (one[:, :size], other[:, :size])
    rest = [array[size:] if array.ndim != 2 else array[:, size:] for array in (one, other)]
    if one.dtype != other.dtype or not np.array_equal(*same):
        yield f"{place}: other cells"
    elif any(part.any() for part in rest):
        yield f"{place}: cells are missing"
