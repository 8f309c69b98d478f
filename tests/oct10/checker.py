"""What every decision on the October 2025 recording must satisfy, checked from the recording and the outputs alone.

`check_run` returns sentences, none when all is well. Moving the trades over `ledger.Ledger` is itself a check: a
position that would cross zero, or grow, fails there. Levels are checked round by round, as they were solved.

The sentence about levels is read literally: no solvent account that was taken in a demand and has lots left in it ends
above that demand's level by more than one lot per symbol taken, and no eligible account untouched in a demand stands
above its level; both but for the rounding of quotes to the minor unit and of the worker's floats.
"""

from collections import defaultdict
from dataclasses import dataclass
from math import ceil

import numpy as np

from schemas.messages import AdlDecision, Bankruptcy, BankruptcyLine, DecidedDemand, ForcedTrade
from tests.oct10.data import CURRENCY_DECIMALS
from tests.oct10.ledger import Burst, Ledger, Run, integer, replayed

UNIT = 10**CURRENCY_DECIMALS
RELATIVE = 1e-8  # levels are leverages of the worker's floats

Key = tuple[int, int]  # symbol row, side that is reduced


@dataclass
class Asked:
    """One demand of one round: what was decided and what came out of it."""

    key: Key
    demand: DecidedDemand
    slots: np.ndarray  # on that side before the round
    taken: np.ndarray  # lots per slot
    haircut: float  # quote per lot, > 0 where the counterparties pay


def check_run(ledger: Ledger, bursts: list[Burst], run: Run, policy: str = "waterfill") -> list[str]:
    """Moves every decision's trades over the ledger; returns what is wrong, in sentences."""
    failures: list[str] = []
    newest_leg: dict[str, int] = defaultdict(int)
    for burst, decision, trades in replayed(ledger, bursts, run):
        if decision is None:
            failures.append(f"{burst.t_ms}: must be decided, no decision names its first takeover")
            continue
        found = list(takeover_failures(ledger, burst, decision, trades))
        for trade in trades:
            newest_leg[trade.account] += 1
            if trade.adl_seq != newest_leg[trade.account]:
                found.append(f"{trade.account}: leg {trade.adl_seq} must be number {newest_leg[trade.account]}")
        found += waterfall_failures(burst, decision)
        for number in sorted({demand.round for demand in decision.demands}):
            round_trades = [t for t in trades if t.round == number and t.role == "COUNTERPARTY"]
            found += round_failures(ledger, decision, number, round_trades, policy)
        found += residual_failures(ledger, decision)
        failures += [f"{burst.t_ms}: {failure}" for failure in found]
    return failures


def takeover_failures(ledger: Ledger, burst: Burst, decision: AdlDecision, trades: list[ForcedTrade]):
    """Every takeover once, in one decision, allocated completely or with a reasoned residual, at its price."""
    decided = sorted(item.id for item in decision.bankruptcies)
    if decided != sorted(takeover.id for takeover in burst.takeovers):
        yield f"must be decided together, {len(decided)} were, of {len(burst.takeovers)}"
    if decision.cut_time_ms != burst.t_ms or decision.status not in ("DECIDED", "RESIDUAL"):
        yield f"must be decided at its time, was {decision.status} at {decision.cut_time_ms}"
    mine: dict[tuple[str, str], list[ForcedTrade]] = defaultdict(list)
    lots: dict[Key, int] = defaultdict(int)
    quotes: dict[str, int] = defaultdict(int)
    for trade in trades:
        asset = ledger.symbol[trade.symbol]
        quotes[trade.symbol] += integer(trade.quote_amount, CURRENCY_DECIMALS)
        lots[asset, -1 if trade.side == "BUY" else 1] += ledger.lots_of(asset, trade.quantity)
        if trade.role == "LIQUIDATED":
            mine[trade.account, trade.symbol].append(trade)
    for symbol, total in quotes.items():
        asset = ledger.symbol[symbol]
        if total or lots[asset, 1] != lots[asset, -1]:
            sides = f"{lots[asset, 1]} / {lots[asset, -1]} lots"
            yield f"{symbol}: legs must sum to zero, were {total} minor units, {sides}"
    residual: dict[Key, int] = defaultdict(int)
    for demand in decision.demands:
        asset = ledger.symbol[demand.symbol]
        side = 1 if demand.side == "LONG" else -1
        residual[asset, side] += ledger.lots_of(asset, demand.residual)
        if ledger.lots_of(asset, demand.residual) and not demand.residual_reason:
            yield f"{demand.symbol}: a residual must have a reason"
    for takeover in burst.takeovers:
        line = takeover.lines[0]
        asset = ledger.symbol[line.symbol]
        wanted = ledger.lots_of(asset, line.quantity)
        side = 1 if wanted > 0 else -1
        legs = mine[takeover.account, line.symbol]
        given = sum(ledger.lots_of(asset, leg.quantity) for leg in legs)
        if given + residual[asset, -side] != abs(wanted):
            yield f"{takeover.id}: {wanted} lots, {given} taken over, {residual[asset, -side]} left"
        if any(leg.side != ("SELL" if side > 0 else "BUY") for leg in legs):
            yield f"{takeover.id}: a long must be sold and a short bought"
        yield from price_failures(ledger, takeover, line, legs, side)


def price_failures(ledger: Ledger, takeover: Bankruptcy, line: BankruptcyLine, legs: list[ForcedTrade], side: int):
    """The event's price, else what the fund leaves of the deficit spread over the line; in the last round the mark."""
    asset = ledger.symbol[line.symbol]
    mark = int(ledger.mark[asset] * ledger.num[asset]) / int(ledger.den[asset])
    for leg in legs:
        lots = ledger.lots_of(asset, leg.quantity)
        quote = integer(leg.quote_amount, CURRENCY_DECIMALS)
        if line.price is not None:
            right = ceil(side * lots * ledger.price_of(asset, line.price))
            if quote != right:
                yield f"{takeover.id}: quote must be {right}, was {quote}"
            continue
        uncovered = -integer(takeover.equity or "0", CURRENCY_DECIMALS)
        uncovered -= integer(takeover.insurance or "0", CURRENCY_DECIMALS)
        share = lots / abs(ledger.lots_of(asset, line.quantity))
        right = side * lots * mark + (0 if leg.round == 3 else uncovered * share)
        if abs(quote - right) > 2 + 1e-12 * abs(right):
            yield f"{takeover.id}: quote must be about {right}, was {quote}"


def waterfall_failures(burst: Burst, decision: AdlDecision):
    """Deficit = fund + haircut + bad debt, the fund paying what the event says."""
    takeovers = {takeover.id: takeover for takeover in burst.takeovers}
    for item in decision.bankruptcies:
        takeover = takeovers.get(item.id)
        if takeover is None:
            continue
        values = (item.deficit, item.fund, item.haircut, item.bad_debt)
        deficit, fund, haircut, bad_debt = (integer(text, CURRENCY_DECIMALS) for text in values)
        declared = -integer(takeover.equity or "0", CURRENCY_DECIMALS)
        insurance = integer(takeover.insurance or "0", CURRENCY_DECIMALS)
        if deficit != declared or fund != insurance:
            yield f"{item.id}: deficit {deficit} and fund {fund} must be {declared} and {insurance}"
        if abs(deficit - fund - haircut - bad_debt) > 4 and takeover.lines[0].price is None:
            yield f"{item.id}: {deficit} must be paid, was {fund} + {haircut} + {bad_debt}"


def round_failures(ledger: Ledger, decision: AdlDecision, number: int, trades: list[ForcedTrade], policy: str):
    """Moves one round's trades and compares every holder of a demanded side with the demand's level."""
    before = ledger.lots.copy()
    equity, gross = ledger.equity_minor(), ledger.gross()
    taken = np.zeros(len(before), dtype=np.int64)
    paid: dict[Key, int] = defaultdict(int)
    for trade in trades:
        asset, sign = ledger.symbol[trade.symbol], 1 if trade.side == "SELL" else -1
        slot = ledger.slot.get((ledger.name.get(trade.account, -1), asset))
        if slot is None:
            yield f"{trade.account} {trade.symbol}: a counterparty must hold what is taken"
            continue
        lots, quote = ledger.lots_of(asset, trade.quantity), integer(trade.quote_amount, CURRENCY_DECIMALS)
        try:
            ledger.take(slot, sign, lots, quote)
        except ValueError as error:
            yield str(error)
            continue
        taken[slot] += lots
        paid[asset, sign] += quote
    asked = []
    for demand in (item for item in decision.demands if item.round == number):
        asset, side = ledger.symbol[demand.symbol], 1 if demand.side == "LONG" else -1
        slots = np.flatnonzero((ledger.asset == asset) & (np.sign(before) == side))
        lots = int(taken[slots].sum())
        if lots != ledger.lots_of(asset, demand.taken):
            yield f"{demand.symbol}: {demand.taken} must be taken in round {number}, were {lots} lots"
        value = side * lots * int(ledger.mark[asset] * ledger.num[asset]) / int(ledger.den[asset])
        lost = value - paid[asset, side]
        legs = np.count_nonzero(taken[slots])  # each rounds its value once
        haircut = lost / lots / UNIT if lots and abs(lost) > legs + 4 else 0.0
        asked.append(Asked((asset, side), demand, slots, taken[slots], haircut))
    for item in asked:
        yield from insolvent_failures(ledger, item, equity, gross)
    if policy == "waterfill":
        yield from level_failures(ledger, asked, taken, equity, gross)


def insolvent_failures(ledger: Ledger, item: Asked, equity: np.ndarray, gross: np.ndarray):
    """Insolvent accounts give first where that costs nothing, and never pay a haircut."""
    owner = ledger.account[item.slots]
    broke = equity[owner] <= 0
    if item.haircut <= 0 and item.taken[~broke].any() and ledger.lots[item.slots[broke]].any():
        yield f"{item.demand.symbol}: insolvent accounts must give before solvent ones"
    if item.haircut > 0:
        price = ledger.lot_notional()[item.key[0]]
        poor = broke | (item.haircut / price * gross[owner] * UNIT > equity[owner] * (1 + RELATIVE))
        if item.taken[poor].any():
            yield f"{item.demand.symbol}: who cannot pay the haircut must not be taken"


def level_failures(ledger: Ledger, asked: list[Asked], taken: np.ndarray, equity: np.ndarray, gross: np.ndarray):
    """Who was taken and has lots left is at most a lot per symbol above the level, who was left alone not at all."""
    price = ledger.lot_notional()
    after_equity, after_gross = ledger.equity_minor() / UNIT, ledger.gross()
    rows = np.flatnonzero(taken)
    grain = np.bincount(ledger.account[rows], price[ledger.asset[rows]], len(ledger.names))
    for item in asked:
        owner, symbol = ledger.account[item.slots], item.demand.symbol
        solvent = equity[owner] > 0
        if item.haircut > 0:
            lot = price[item.key[0]]
            solvent &= item.haircut / lot * gross[owner] * UNIT < equity[owner] * (1 - RELATIVE)
        gave = solvent & (item.taken > 0)
        level = item.demand.level
        if level is None:
            if gave.any():
                yield f"{symbol}: a demand that took from solvent accounts must have a level"
            continue
        rounding = RELATIVE * level * after_equity[owner] + 4 / UNIT * level
        limit = level * after_equity[owner] + np.where(gave, grain[owner], 0.0) + rounding
        above = solvent & (ledger.lots[item.slots] != 0) & (after_gross[owner] > limit)
        stands = after_gross[owner][above] / after_equity[owner][above]
        for row, height in list(zip(np.flatnonzero(above), stands, strict=True))[:3]:
            what = "taken" if item.taken[row] else "left alone"
            yield f"{ledger.names[owner[row]]} {symbol}: {what}, stands at {height:.9g} above {level:.9g}"


def residual_failures(ledger: Ledger, decision: AdlDecision):
    """A residual only where no lot is left that could be taken."""
    for demand in decision.demands:
        asset, side = ledger.symbol[demand.symbol], 1 if demand.side == "LONG" else -1
        if ledger.lots_of(asset, demand.residual):
            left = (ledger.asset == asset) & (np.sign(ledger.lots) == side)
            if demand.residual_reason == "NO_COUNTERPARTIES" and left.any():
                yield f"{demand.symbol}: residual {demand.residual} although {left.sum()} positions are left"
            elif demand.residual_reason not in ("NO_COUNTERPARTIES", "COUNTERPARTIES_CANNOT_PAY"):
                yield f"{demand.symbol}: reason {demand.residual_reason} is not one of an allocation"
