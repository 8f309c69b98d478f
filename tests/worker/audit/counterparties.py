"""Who was asked for how much, in which order, and that nobody is worse off than the promise."""

from collections import defaultdict
from fractions import Fraction

from tests.worker.audit.takeover import Takeover


class Counterparties(Takeover):
    """Checks of the side that is reduced."""

    def demands(self, decision, wanted, taken, given):
        """Demanded = taken + residual, round by round, and the legs say the same."""
        by_key = defaultdict(list)
        for demand in decision.demands:
            if demand.residual_reason != "LIQUIDATED_LEG_REFUSED":
                by_key[demand.symbol, 1 if demand.side == "LONG" else -1].append(demand)
        self.check(by_key.keys() == wanted.keys(), decision, "demands", sorted(by_key), "expected", sorted(wanted))
        short = False
        for key, rounds in by_key.items():
            left = wanted.get(key, Fraction(0))
            for demand in sorted(rounds, key=lambda d: d.round):
                got = Fraction(demand.taken)
                self.check(Fraction(demand.quantity) == left, decision, *key, "asks", demand.quantity, "open", left)
                legs = [x for x in taken if (x.key[0], x.sign, x.round) == (*key, demand.round)]
                self.check(sum(x.quantity for x in legs) == got, decision, *key, "legs are not what was taken", got)
                self.check(len({x.account for x in legs}) == demand.accounts, decision, *key, "accounts")
                if decision.attempt == 1 and demand.round:  # legs of round 0 are crossings
                    gave = sum(x.quantity for x in given if (x.key[0], -x.sign, x.round) == (*key, demand.round))
                    self.check(gave == got, decision, *key, "liquidated legs give", gave, "taken", got)
                left -= got
            residual = sum(Fraction(demand.residual) for demand in rounds)
            self.check(residual == left, decision, *key, "residual", residual, "left", left)
            short |= left > 0
        if short:
            self.check(decision.status == "RESIDUAL", decision, "is short, status", decision.status)

    def may_be_asked(self, name, key, outside, owners):
        trader = self.traders[name]
        return (
            trader.role == "TRADER"
            and trader.adl != "EXEMPT"
            and name not in outside
            and name != "CLEARING"  # faces every leg
            and trader.owner not in owners
            and all(self.markets[k[0]].mark is not None for k in self.members(self.margin_unit(name, key)))
        )

    def wins(self, name, key):
        """Is it without equity, or does the position show a profit, beyond the roundings of floats?"""
        holding, unit = self.traders[name].holdings[key], self.margin_unit(name, key)
        value = self.markets[key[0]].value(holding.quantity)
        return self.equity(unit) <= 0 or value - holding.entry > abs(value) * Fraction(1, 10**12)

    def counterparties(self, decision, taken, given, outside, owners):
        """Who was asked, that nothing crosses zero, and that nobody is worse off than the promise."""
        by_position, by_unit = defaultdict(list), defaultdict(list)
        for leg in taken:
            by_position[leg.account, leg.key].append(leg)
            by_unit[self.margin_unit(leg.account, leg.key)].append(leg)
        for (name, key), legs in by_position.items():
            self.check(self.may_be_asked(name, key, outside, owners), decision, name, "must not be asked")
            free = self.free(name, key)
            total = sum(leg.sign * leg.quantity for leg in legs)
            right = (free > 0) == (total > 0) and abs(total) <= abs(free) and len({leg.sign for leg in legs}) == 1
            self.check(right, decision, name, key, "has", free, "and gives", total)
        for unit, legs in by_unit.items():
            equity, gross = self.equity(unit), self.gross(unit)
            # One minor unit for the split, and those by which liquidated quotes of the same demand were rounded up.
            beside = {(leg.key[0], -leg.sign, leg.round) for leg in legs}
            count = len(legs) + sum((leg.key[0], leg.sign, leg.round) in beside for leg in given)
            values = [(leg.sign, self.markets[leg.key[0]].value(leg.quantity), leg.quote) for leg in legs]
            after = equity - sum(sign * value - quote for sign, value, quote in values)
            rest = gross - sum(value for _, value, _ in values)
            if equity <= 0:
                self.check(after + count >= equity, decision, *unit, "is insolvent and pays", equity - after)
            else:
                self.check(after + count >= 0, decision, *unit, "is made insolvent:", equity, "to", after)
                self.check(rest * equity <= gross * (after + count), decision, *unit, "is more levered by being taken")

    def order(self, decision, taken, given, outside, owners):
        """Normal before LAST; insolvent before solvent where it costs nothing; residuals only of nothing left."""
        for demand in decision.demands:
            if demand.residual_reason in ("LIQUIDATED_LEG_REFUSED", "ATTEMPTS_EXHAUSTED"):
                continue
            symbol, sign = demand.symbol, 1 if demand.side == "LONG" else -1
            mine = [leg for leg in taken if (leg.key[0], leg.sign) == (symbol, sign)]
            here = [leg for leg in mine if leg.round == demand.round]
            value = sum(self.markets[symbol].value(leg.quantity) for leg in here)
            haircut = sum(sign * self.markets[symbol].value(leg.quantity) - leg.quote for leg in here)
            # Asked is the mean price of all that is open, paid that of whole lots: up to a lot a line apart.
            facing = [x for x in given if (x.key[0], -x.sign) == (symbol, sign)]
            prices = [Fraction(x.quote) / x.quantity for x in facing] or [Fraction(0)]
            apart = len(facing) * self.markets[symbol].lot * (max(map(abs, prices)) - min(map(abs, prices))) + len(here)
            last = [
                x.account for x in here if self.traders[x.account].adl == "LAST" and not self.at_mark(decision, x, here)
            ]
            for name, trader in list(self.traders.items()):
                for key, holding in trader.holdings.items():
                    if key[0] != symbol or holding.quantity * sign <= 0:
                        continue
                    own = [leg for leg in mine if (leg.account, leg.key) == (name, key) and leg.round <= demand.round]
                    left = abs(self.free(name, key)) - sum(leg.quantity for leg in own)
                    if not left or not self.may_be_asked(name, key, outside, owners):
                        continue
                    if self.winners_only and not self.wins(name, key):
                        continue
                    where = (decision, name, key, "has lots left,")
                    if self.residual == "mark":
                        self.check(not Fraction(demand.residual), *where, "and there is a residual of", demand.residual)
                    if not here or trader.adl != "NORMAL":
                        continue
                    unit = self.margin_unit(name, key)
                    equity, gross = self.equity(unit), self.gross(unit)
                    for leg in taken:  # as it stands after the rounds before this one
                        if self.margin_unit(leg.account, leg.key) == unit and leg.round < demand.round:
                            equity -= leg.haircut
                            gross -= self.markets[leg.key[0]].value(leg.quantity)
                    able = haircut <= 0
                    if equity > 0:  # by more than the roundings of quotes and floats
                        able = (haircut + apart) * gross * Fraction(1000001, 1000000) < equity * value
                    self.check(not (able and last), *where, "could pay, and LAST accounts are asked:", last)
                    if equity <= 0 and haircut <= 0 and demand.round == 1:
                        solvent = [x.account for x in here if self.equity(self.margin_unit(x.account, x.key)) > 0]
                        self.check(not solvent, *where, "is insolvent, and asked were", solvent)
