"""The forecast said naively: every unit a list of positions, every shock a loop, whole numbers of any size."""

from collections import Counter
from fractions import Fraction
from math import floor

from worker.forecast import Struck

MILLION = 1_000_000


class Unit:
    """A cross account or an isolated position: equity and (symbol, value) of what is not held by legs."""

    def __init__(self, account, equity, positions, collateral=()):
        self.account, self.equity = account, equity
        self.values = Counter()
        self.sides = Counter()
        for symbol, value, lots in positions:
            self.values[symbol] += value
            self.sides[symbol, lots > 0] += value
        for symbol, value in collateral:
            self.values[symbol] += value

    def after(self, moves):
        """Equity once symbols have moved by parts per million."""
        return self.equity + sum(value * moves.get(symbol, 0) // MILLION for symbol, value in self.values.items())


def units_of(book, names):
    """All units that count, and a count of those that do not by reason."""
    units, left_out = [], Counter()
    for name in names:
        views = [view for view in book.positions(name) if view.effective_lots]
        groups = [(book.equity_minor(name), [view for view in views if not view.isolated], book.unmarked(name))]
        groups += [
            (book.isolated_equity_minor(name, view.symbol, view.side), [view], view.mark == 0)
            for view in views
            if view.isolated
        ]
        for equity, held, unmarked in groups:
            if not held:
                continue
            if book.role(name) != "TRADER":
                left_out["HOUSE"] += 1
            elif {("AccountUpdate", name), ("Account", name)} & book.parked.keys():
                left_out["PARKED"] += 1
            elif unmarked:
                left_out["UNMARKED"] += 1
            else:
                foreign = [] if held[0].isolated else book.collateral(name)
                converted = [
                    (symbol, lots * book.market(symbol).mark_num // book.market(symbol).den) for symbol, lots in foreign
                ]
                said = [(view.symbol, view.value_minor, view.effective_lots) for view in held]
                units.append(Unit(name, equity, said, converted))
    return units, dict(left_out)


def volume(units, symbol, moves):
    """What longs and shorts of these units in a symbol leave of each other at prices after the moves."""
    totals = [
        sum(unit.sides[symbol, long] + unit.sides[symbol, long] * moves.get(symbol, 0) // MILLION for unit in units)
        for long in (True, False)
    ]
    return abs(sum(totals))


class TwinForecast:
    def __init__(self, book, names, available):
        self.book, self.available = book, available
        self.units, self.left_out = units_of(book, names)

    def fund(self, unit):
        return self.book.instrument(
            min((symbol for symbol, _ in unit.sides), key=lambda symbol: symbol.encode())
        ).fund_id

    def strike(self, touched, moves):
        """(bankrupt units, deficit, shortfall) of a shock that reaches these units."""
        gone = [unit for unit in touched if unit.after(moves) <= 0]
        own, other, reached = Counter(), Counter(), set(map(id, touched))
        for unit in gone:
            own[self.fund(unit)] -= unit.after(moves)
        for unit in self.units:
            if id(unit) not in reached and unit.equity < 0:
                other[self.fund(unit)] -= unit.equity
        left = {fund: max(0, self.available.get(fund, 0) - other[fund]) for fund in own}
        return gone, sum(own.values()), sum(max(0, own[fund] - left[fund]) for fund in own)

    def value_moves(self, moves):
        """How values move with prices, in parts per million: of inverse contracts as the reciprocal does."""
        found = {}
        for symbol, move in moves.items():
            price = max(Fraction(0), 1 + Fraction(round(move), MILLION))
            if self.book.instrument(symbol).contract_type == "inverse":
                price = min(1 / price, Fraction(9)) if price else Fraction(9)
            found[symbol] = floor((min(price, Fraction(9)) - 1) * MILLION)
        return found

    def alone(self, symbol, ppm):
        touched = [unit for unit in self.units if symbol in unit.values]
        moves = self.value_moves({symbol: ppm})
        gone, deficit, shortfall = self.strike(touched, moves)
        elsewhere = sum(abs(value) for unit in gone for (other, _), value in unit.sides.items() if other != symbol)
        return Struck(ppm, len(gone), deficit, shortfall, volume(gone, symbol, moves), elsewhere)

    def together(self, ppm, prices):
        """A shock that moves prices by so many parts per million, by symbol, and is called `ppm`."""
        moves = self.value_moves(prices)
        gone, deficit, shortfall = self.strike(self.units, moves)
        volumes = {symbol: volume(gone, symbol, moves) for symbol in moves}
        return Struck(ppm, len(gone), deficit, shortfall, sum(volumes.values())), volumes

    def insolvent(self):
        found = Counter()
        for unit in self.units:
            if unit.equity <= 0:
                found[unit.account] -= unit.equity
        return dict(found)
