"""Ordinary trading on the demo exchange: pairs trade at the mark, so forced trades meet moving positions."""

import numpy as np

from worker.demo.ledger import LONG, SHORT, Health, Ledger
from worker.demo.liquidation import Liquidation
from worker.demo.population import FIRST_TRADER


def trade_some(ledger: Ledger, liquidation: Liquidation, health: Health, count: int, rng: np.random.Generator) -> int:
    """At most `count` trades between random holders of one symbol; returns how many were possible."""
    live = np.flatnonzero((ledger.lots != 0) & (ledger.account >= FIRST_TRADER))
    live = live[np.argsort(ledger.symbol[live], kind="stable")]
    first = np.searchsorted(ledger.symbol[live], np.arange(len(ledger.specs) + 1))
    done = 0
    for draw, other, part in rng.random((count, 3)).tolist():
        buyer = int(live[int(draw * len(live))])
        symbol = int(ledger.symbol[buyer])
        begin, end = int(first[symbol]), int(first[symbol + 1])
        seller = int(live[begin + int(other * (end - begin))])
        smaller = min(abs(int(ledger.lots[buyer])), abs(int(ledger.lots[seller])))
        lots = smaller if part < 0.1 else max(1, int(smaller * part) // 2)
        if ledger.account[buyer] == ledger.account[seller] or not lots or not smaller:
            continue
        if _may(ledger, liquidation, health, buyer, lots) and _may(ledger, liquidation, health, seller, -lots):
            price = ledger.specs[symbol].on_tick(int(ledger.marks[symbol]))
            ledger.trade(buyer, seller, lots, ledger.value(symbol, lots, price))
            done += 1
    return done


def _may(ledger: Ledger, liquidation: Liquidation, health: Health, slot: int, lots: int) -> bool:
    """Reductions always; growth only of healthy cross accounts, never through zero on isolated or hedged positions."""
    held, account = int(ledger.lots[slot]), int(ledger.account[slot])
    if liquidation.is_frozen(slot):
        return False
    if held * lots < 0 and abs(lots) <= abs(held):
        return True
    fixed = bool(ledger.isolated[slot]) or (ledger.side[slot] in (LONG, SHORT) and held * lots < 0)
    return not fixed and int(health.equity[account]) > 4 * int(health.need[account])
