"""Who trades on the demo exchange: makers, crowds of traders, and positions opened against each other.

Every lot is bought by one account from another at one price, so longs equal shorts and entry values sum to zero from
the first record. Shares and divisions only, no logarithm: the same seed gives the same crowd on every machine.
"""

from collections import defaultdict

import numpy as np

from schemas.messages import Account
from worker.demo.ledger import LONG, NET, SHORT, Ledger
from worker.demo.prices import PPM

CLEARING, LIQUIDATION, INSURANCE = "CLEARING", "LIQUIDATION", "INSURANCE"
MAKERS = ("MAKER-1", "MAKER-2", "MAKER-3", "MAKER-4")  # the first two are exempt from deleveraging
HOUSE_ROWS = (CLEARING, LIQUIDATION, INSURANCE)
FIRST_TRADER = len(HOUSE_ROWS) + len(MAKERS)
THIN_LONGS, THIN_SHORTS = 36, 7
MINOR = PPM  # minor units of one unit of the currency


def names(accounts: int) -> list[str]:
    """Row names: the house's own, the makers, then traders."""
    if accounts < 500:
        raise ValueError(f"accounts must be at least 500, was {accounts}")
    return [*HOUSE_ROWS, *MAKERS, *(f"T{row:06d}" for row in range(FIRST_TRADER, accounts))]


def account_records(ledger: Ledger, rng: np.random.Generator) -> list[Account]:
    """What is not a default account: roles, exempt, last, and owners of several accounts."""
    records = [Account(account=CLEARING, role="CLEARING", adl="EXEMPT")]
    records.append(Account(account=LIQUIDATION, role="LIQUIDATION", adl="EXEMPT"))
    records.append(Account(account=INSURANCE, role="INSURANCE", adl="EXEMPT"))
    records += [Account(account=name, adl="EXEMPT" if i < 2 else "NORMAL") for i, name in enumerate(MAKERS)]
    chosen = rng.permutation(np.arange(FIRST_TRADER, len(ledger.names) - THIN_LONGS - THIN_SHORTS))
    exempt, last, owned = (chosen[a:b].tolist() for a, b in ((0, 8), (8, 48), (48, 168)))
    records += [Account(account=ledger.names[row], adl="EXEMPT") for row in exempt]
    records += [Account(account=ledger.names[row], adl="LAST") for row in last]
    records += [Account(account=ledger.names[r], beneficial_owner=f"OWNER-{i // 3:02d}") for i, r in enumerate(owned)]
    return records


class Population:
    """Draws positions, matches them into trades, and deposits what the wanted leverage needs."""

    def __init__(self, ledger: Ledger, rng: np.random.Generator) -> None:
        self.ledger, self.rng = ledger, rng
        self.orders: dict[int, list[tuple[int, int]]] = defaultdict(list)  # symbol -> (slot, signed lots)
        rows = len(ledger.names)
        u = rng.random(rows)
        bull = rng.random(rows) < 0.62
        # Tenths of leverage, a power tail: few are close to the edge. Longs are bolder, so falls hurt more than rises.
        self.leverage = np.minimum(12 + np.where(bull, 1.8, 1.6) / u, np.where(bull, 250, 180)).astype(np.int64)
        self.bull = bull
        self._traders(rows - THIN_LONGS - THIN_SHORTS)
        self._thin(rows - THIN_LONGS - THIN_SHORTS, rows)
        for symbol in range(len(ledger.specs)):
            self._open(symbol)
        self._deposit()
        values = ledger.values()
        self.open_interest = int(values[values > 0].sum())

    def _lots(self, symbol: int, notional: int) -> int:
        """Lots worth about a notional in minor units, at least one."""
        return max(1, notional * 1000 // self.ledger.value(symbol, 1000, int(self.ledger.marks[symbol])))

    def _traders(self, end: int) -> None:
        rng, ledger, thin = self.rng, self.ledger, len(self.ledger.specs) - 1
        weight = np.cumsum(1 / (1 + np.arange(thin)))
        for row in range(FIRST_TRADER, end):
            held = min(1 + int(rng.random() < 0.5) + int(rng.random() < 0.35) * int(rng.integers(1, 5)), thin)
            hedged = rng.random() < 0.06
            size = int(min(2000 / max(rng.random(), 1e-9), 900_000)) * MINOR
            symbols = dict.fromkeys(np.searchsorted(weight, rng.random(held) * weight[-1], "right").tolist())
            for symbol in symbols:
                lots = self._lots(symbol, size // len(symbols))
                sign = 1 if bool(self.bull[row]) == (rng.random() < 0.85) else -1
                isolated = bool(rng.random() < 0.18)
                if not hedged:
                    self.orders[symbol].append((ledger.slot(row, symbol, NET, isolated), sign * lots))
                    continue
                side, other = (LONG, SHORT) if sign > 0 else (SHORT, LONG)
                self.orders[symbol].append((ledger.slot(row, symbol, side, isolated), sign * lots))
                if rng.random() < 0.6 and lots > 3:
                    self.orders[symbol].append((ledger.slot(row, symbol, other, isolated), -sign * (lots // 3)))

    def _thin(self, start: int, end: int) -> None:
        """Bold longs against a few small shorts; an exempt maker stands on the other side of the rest."""
        symbol = len(self.ledger.specs) - 1
        for i, row in enumerate(range(start, end)):
            long = i < THIN_LONGS
            lots = self._lots(symbol, int(self.rng.integers(4_000, 12_000) if long else 2_500) * MINOR)
            self.leverage[row] = self.rng.integers(45, 110) if long else 20
            self.orders[symbol].append((self.ledger.slot(row, symbol, NET, i % 3 == 0), lots if long else -lots))

    def _open(self, symbol: int) -> None:
        """Matches buyers with sellers, end to end; makers take what is over."""
        ledger, spec, orders = self.ledger, self.ledger.specs[symbol], self.orders[symbol]
        order = self.rng.permutation(len(orders))
        slots = np.array([orders[i][0] for i in order], np.int64)
        lots = np.array([orders[i][1] for i in order], np.int64)
        over = -int(lots.sum())
        makers = MAKERS[:1] if symbol == len(ledger.specs) - 1 else MAKERS
        share = over // len(makers)
        for i, name in enumerate(makers):
            part = share if i else over - share * (len(makers) - 1)
            if part:
                slots = np.append(slots, ledger.slot(ledger.account_of[name], symbol))
                lots = np.append(lots, part)
        buys, sells = lots > 0, lots < 0
        ends_buy, ends_sell = np.cumsum(lots[buys]), np.cumsum(-lots[sells])
        ends = np.union1d(ends_buy, ends_sell)
        buyer = slots[buys][np.searchsorted(ends_buy, ends)]
        seller = slots[sells][np.searchsorted(ends_sell, ends)]
        moves = self.rng.integers(-45_000, 45_001, len(ends))
        for buy, sell, size, move in zip(buyer, seller, np.diff(ends, prepend=0), moves, strict=True):
            price = spec.on_tick(int(ledger.marks[symbol]) * (PPM + int(move)) // PPM)
            ledger.trade(int(buy), int(sell), int(size), ledger.value(symbol, int(size), price))

    def _deposit(self) -> None:
        """Margin so that equity is gross notional over the wanted leverage; makers are rich."""
        ledger = self.ledger
        value = ledger.values()
        gain = value - ledger.entry
        gross, cross_gain = np.zeros((2, len(ledger.names)), np.int64)
        cross = ~ledger.isolated
        np.add.at(gross, ledger.account[cross], np.abs(value[cross]))
        np.add.at(cross_gain, ledger.account[cross], gain[cross])
        for slot in np.flatnonzero(ledger.isolated).tolist():
            size, row = abs(int(value[slot])), int(ledger.account[slot])
            margin = size * 10 // int(self.leverage[row]) - int(gain[slot])
            ledger.deposit_margin(slot, max(margin, size // 50 + 1))
        for row in range(len(ledger.names)):
            wanted = int(gross[row]) * 10 // int(self.leverage[row])
            if row < FIRST_TRADER:
                wanted = int(gross[row]) * 2 + 50_000_000 * MINOR * (ledger.names[row] not in (CLEARING, INSURANCE))
            ledger.deposit(row, max(wanted - int(cross_gain[row]), int(gross[row]) // 50))
