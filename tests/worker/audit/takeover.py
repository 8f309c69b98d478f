"""What the bankrupt accounts must give up, at which prices, and who pays their deficits."""

from collections import defaultdict
from fractions import Fraction
from math import ceil, floor

from tests.worker.audit.nouns import Estate
from tests.worker.audit.state import State


class Takeover(State):
    """Checks of the liquidated side."""

    def estates(self, claims):
        estates, whole = [], set()
        listed = defaultdict(Fraction)
        for claim in claims:
            for line in claim.lines:
                listed[claim.account, (line.symbol, line.position_side)] += Fraction(line.quantity)
        # All of a position is named, and a part of it is with us: what is still there.
        raced = {}
        for (name, key), quantity in listed.items():
            held, free = self.traders[name].holdings.get(key), self.free(name, key)
            if held and held.quantity == quantity != free:
                raced[name, key] = free
        named = listed | raced
        for place, claim in enumerate(claims):
            name, cross, lines = claim.account, [], []
            for line in sorted(claim.lines, key=lambda item: (item.symbol, item.position_side)):
                key, quantity = (line.symbol, line.position_side), Fraction(line.quantity)
                if (name, key) in raced:
                    quantity = min(quantity, raced[name, key], key=abs)
                    raced[name, key] -= quantity
                lines += [(*key, quantity, line.price and Fraction(line.price))] if quantity else []
            if not claim.lines and name not in whole:
                whole.add(name)
                for key in self.members((name, None)):
                    free, others = self.free(name, key), listed.get((name, key), 0)
                    free -= min(others, free, key=abs) if free * others > 0 else free * (others != 0)
                    lines += [(*key, free, None)] if free else []
            for line in sorted(lines, key=lambda item: item[:2]):
                unit = self.margin_unit(name, line[:2])
                if unit[1]:
                    market = self.markets[line[0]]
                    size = max(abs(self.free(name, line[:2])), abs(named[name, line[:2]]))
                    need = market.requirement(market.value(size))
                    estates.append(Estate(place, name, [line], self.equity(unit), need, unit))
                else:
                    cross.append(line)
            if cross and self.members((name, None)):
                unit = (name, None)
                estates.append(Estate(place, name, cross, self.equity(unit), self.requirement(unit), unit))
            elif cross:
                estates.append(Estate(place, name, cross, self.minor(claim.equity or "0"), Fraction(0), (place,)))
        for estate in estates:
            for symbol, side, quantity, _ in estate.lines:
                held = self.free(estate.account, (symbol, side)), listed.get((estate.account, (symbol, side)), 0)
                market = self.markets[symbol]
                value = market.value(max(map(abs, (*held, quantity))))
                estate.fractions[symbol, side] = market.requirement(value) / value if value else market.mmf
        for unit in {estate.unit for estate in estates}:
            self.share(claims, [estate for estate in estates if estate.unit == unit])
        return estates

    def disagreements(self, decision, claims, estates):
        """An equity that counts is known; what the events of a decision list otherwise than the book is said."""
        listed = defaultdict(Fraction)
        for claim in claims:
            for line in claim.lines:
                listed[claim.account, (line.symbol, line.position_side)] += Fraction(line.quantity)
        for estate in estates:
            if len(estate.unit) == 2:
                unmarked = [k for k in self.members(estate.unit) if self.free(estate.account, k) and self.unmarked(k)]
                self.check(not unmarked, decision, estate.account, "has positions without a mark:", unmarked)
        for place, (claim, said) in enumerate(zip(claims, decision.bankruptcies, strict=True)):
            keys = {(line.symbol, line.position_side) for line in claim.lines}
            known = bool(self.traders[claim.account].holdings)
            expected = [key for key in keys if known and listed[claim.account, key] != self.free(claim.account, key)]
            mine = [estate for estate in estates if estate.claim == place]
            if claim.equity is not None and mine and all(len(estate.unit) == 2 for estate in mine):
                cross = [estate.equity for estate in mine if estate.unit[1] is None]
                ours = cross[0] if cross else sum(estate.equity for estate in mine)
                expected += [("equity",)] * (ours != self.minor(claim.equity))
            found = sorted(text.partition(":")[0] for text in said.disagreements)
            right = found == sorted(" ".join(key) for key in expected)
            self.check(right, decision, said.id, "disagreements", said.disagreements, "expected", sorted(expected))

    def unmarked(self, key):
        return self.markets[key[0]].mark is None

    def needed(self, estate, lines):
        parts = (abs(self.markets[s].value(quantity)) * estate.fractions[s, side] for s, side, quantity, _ in lines)
        return sum(parts, Fraction(0))

    def share(self, claims, group):
        """A unit's deficit is counted once, by requirement of lines; what priced lines carry is asked of nobody."""
        total = sum(self.needed(estate, estate.lines) for estate in group)
        if any(claims[estate.claim].lines for estate in group):
            for estate in group:
                estate.requirement = max(estate.requirement, total)
        for estate in group:
            mine = self.needed(estate, estate.lines)
            unpriced = self.needed(estate, [line for line in estate.lines if line[3] is None])
            estate.deficit = Fraction(max(0, -estate.equity)) * mine / total
            estate.asked = floor(estate.deficit * unpriced / mine + Fraction(1, 2))
            estate.requirement *= unpriced / total

    def takeover(self, decision, estates, given):
        """What must be taken, per (symbol, side that is reduced), after the crossings; checks the liquidated legs."""
        listed, wanted = defaultdict(Fraction), defaultdict(Fraction)
        for estate in estates:
            for symbol, side, quantity, _ in estate.lines:
                sign = 1 if quantity > 0 else -1
                listed[estate.account, (symbol, side), sign] += abs(quantity)
                wanted[symbol, -sign] += abs(quantity)
        done = defaultdict(Fraction)
        crossed = defaultdict(Fraction)
        for leg in given:
            done[leg.account, leg.key, leg.sign] += leg.quantity
            if leg.round == 0:
                crossed[leg.key[0], leg.sign] += leg.quantity
        for cell, quantity in done.items():
            self.check(quantity <= listed[cell], decision, *cell, "gives", quantity, "of", listed[cell])
        for symbol in {symbol for symbol, _ in crossed}:
            self.check(crossed[symbol, 1] == crossed[symbol, -1], decision, symbol, "crossings do not meet")
            said = sum(Fraction(c.quantity) for c in decision.crossings if c.symbol == symbol)
            self.check(said == crossed[symbol, 1], decision, symbol, "crossings say", said)
        for (symbol, sign), quantity in crossed.items():
            wanted[symbol, -sign] -= quantity
        return {key: quantity for key, quantity in wanted.items() if quantity}

    def waterfall(self, decision, claims, estates, given, taken):
        """deficit = fund + haircut + bad debt, to the rounding of the legs; prices; the fund is never overdrawn."""
        sums = defaultdict(int)
        groups = defaultdict(list)
        for place, (claim, said) in enumerate(zip(claims, decision.bankruptcies, strict=True)):
            mine = [estate for estate in estates if estate.claim == place]
            only = [claim.account for claim in claims].count(claim.account) == 1
            legs = [leg for leg in given if leg.account == claim.account]
            netted = not any(price for estate in mine for *_, price in estate.lines)
            told = {name: self.minor(getattr(said, name)) for name in ("deficit", "fund", "haircut", "bad_debt")}
            for name, amount in told.items():
                sums[name] += amount
            exact = sum(estate.deficit for estate in mine)
            right = abs(told["deficit"] - exact) < max(1, len(mine))
            self.check(right, decision, said.id, "deficit", told["deficit"], "is", exact)
            deficit = told["deficit"]
            if netted:
                paid = told["fund"] + told["haircut"] + told["bad_debt"]
                # A quote is rounded up; so is the value it is compared with where lots are no whole minor units.
                slack = sum(1 + (self.markets[x.key[0]].value(x.quantity).denominator > 1) for x in legs)
                self.check(0 <= paid - deficit <= slack, decision, said.id, "deficit", deficit, "paid", paid)
            if only:
                given_up = -sum(leg.haircut for leg in legs)
                self.check(told["haircut"] == given_up, decision, said.id, "haircut", told["haircut"], "is", given_up)
            asked, slack = sum(estate.asked for estate in mine), sum(estate.deficit.denominator > 1 for estate in mine)
            right = 0 <= told["fund"] <= asked + slack
            self.check(right, decision, said.id, "fund pays", told["fund"], "of", asked)
            if claim.insurance is not None:
                off = told["fund"] - min(asked, self.minor(claim.insurance))
                self.check(abs(off) <= slack, decision, said.id, "insurance pays", told["fund"], "not", off, "less")
            elif asked:
                funds = {claim.fund_id or self.markets[e.lines[0][0]].fund_id for e in mine if e.asked}
                groups[funds.pop() if len(funds) == 1 else None].append((asked, told["fund"], len(mine) + slack))
            if only and len(mine) == 1:
                self.prices(decision, mine[0], told["fund"], legs, taken)
            else:
                crossed = [leg for leg in legs if leg.round == 0]
                self.check(all(abs(self.off_mark(x)) <= len(legs) for x in crossed), decision, "crossing off the mark")
        whole = {estate.unit: max(0, -estate.equity) for estate in estates}
        self.check(sums["deficit"] == sum(whole.values()), decision, "deficits", sums["deficit"], "are", whole)
        for name, total in sums.items():
            if name != "deficit":
                self.check(self.minor(getattr(decision, name)) == total, decision, name, "is not the sum", total)
        self.fund(decision, groups)

    def fund(self, decision, groups):
        for name, text in decision.fund_draws.items():
            there, contained = self.funds.get(name, (0, 0))
            there -= sum(amount for sequence, amount in self.draws[name] if sequence > contained)
            self.check(0 < self.minor(text) <= there, decision, "fund", name, "draws", text, "of", there)
        if None in groups:
            return
        for name, group in groups.items():
            drawn = self.minor(decision.fund_draws.get(name, "0"))
            total = sum(deficit for deficit, _, _ in group)
            self.check(drawn == sum(paid for _, paid, _ in group), decision, "fund", name, "draws", drawn, "pays else")
            for deficit, paid, count in group:
                fair = Fraction(drawn * deficit, total)
                self.check(abs(paid - fair) <= count, decision, "fund", name, "pays", paid, "pro rata is", fair)

    def off_mark(self, leg):
        """What a leg gives up against its value; crossings of several pairs round each pair."""
        return leg.sign * floor(self.markets[leg.key[0]].value(leg.quantity)) - leg.quote

    def at_mark(self, decision, leg, taken):
        """Whether the leg's round is the one at the mark: the third or later, and nobody gave anything up."""
        here = [x for x in taken if (x.key[0], x.sign, x.round) == (leg.key[0], leg.sign, leg.round)]
        return leg.round > 2 and abs(sum(x.haircut for x in here)) <= len(here) + 2 * len(decision.bankruptcies)

    def lost(self, line, last):
        """What a line lost since its account was last solvent; where it gained, or that is not known, nothing."""
        symbol, _, quantity, _ = line
        market = self.markets[symbol]
        return max(Fraction(0), (last.get(symbol, market.mark) - market.mark) * quantity * market.unit)

    def prices(self, decision, estate, fund, legs, taken):
        """Liquidated legs stand at the event's price, the rule's price, or the mark (crossings and the last round)."""
        left = min(0, fund - estate.asked)
        last = {} if len(estate.unit) == 1 else self.solvent_marks.get(estate.unit, self.watched_marks)
        loose = [line for line in estate.lines if line[3] is None]
        looks_back = self.settlement == "last_solvent_mark" and any(symbol in last for symbol, *_ in loose)
        rule = "bankruptcy" if self.settlement == "last_solvent_mark" and not looks_back else self.settlement
        lost = sum(self.lost(line, last) for line in loose) if looks_back else 0
        undone = min(Fraction(1), -left / lost) if lost else Fraction(0)
        said, other = decision.bankruptcies[estate.claim].settlement, rule if left and rule != self.settlement else None
        self.check(said == other, decision, estate.account, "rule said is", said, "expected", other)
        for leg in legs:
            market = self.markets[leg.key[0]]
            price = next(p for s, side, _, p in estate.lines if (s, side) == leg.key)
            factor = Fraction(1)
            if price is not None:
                factor = price / market.mark
            elif rule == "bankruptcy" and estate.requirement:
                factor = 1 - leg.sign * estate.fractions[leg.key] * left / estate.requirement
            elif rule == "last_solvent_mark" and self.lost((leg.key[0], None, leg.sign, None), last):
                factor = (market.mark + undone * (last[leg.key[0]] - market.mark)) / market.mark
            if price is None:
                if self.collar is not None:
                    factor = min(max(factor, 1 - self.collar), 1 + self.collar)
                factor = max(Fraction(0), factor)
            if leg.round == 0:
                self.check(left == 0, decision, leg.account, "crosses with a deficit of", -left)
                self.check(abs(self.off_mark(leg)) <= len(decision.bankruptcies), decision, leg.account, "crosses off")
                continue
            facing = [x for x in taken if (x.key[0], -x.sign, x.round) == (leg.key[0], leg.sign, leg.round)]
            if leg.round and self.at_mark(decision, facing[0], facing):
                factor = Fraction(1)
            due = ceil(leg.sign * market.value(leg.quantity) * factor)
            self.check(leg.quote == due, decision, leg.account, leg.key, "quote", leg.quote, "expected", due)
