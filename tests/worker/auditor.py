"""A second opinion on whole runs: dictionaries, Fractions and the design's sentences; nothing of worker or solver.

Rule 1: state is rebuilt from the input records below each decision's basis, and from the legs published before it.
Rule 2: every check is a sentence with numbers; `audit` returns what is wrong, and nothing where all is right. It knows
neither parked accounts nor `protect_principal`; runs with dead letters on accounts are not its matter.
"""

from collections import defaultdict
from fractions import Fraction
from math import floor

from tests.worker.audit.counterparties import Counterparties
from tests.worker.audit.nouns import Leg

DONE = ("DECIDED", "RESIDUAL")


class Auditor(Counterparties):
    """Every decision in turn, on the state it rests on."""

    def audit(self, decisions, trades, cuts):
        mine = defaultdict(list)
        watched = [cut for cut in cuts if not cut.after]
        for trade in trades:
            mine[trade.decision_id].append(trade)
        for decision in decisions:
            while watched and watched[0].number < decision.cut_number:
                self.watch(watched.pop(0))
            self.advance(decision)
            if decision.status in DONE and decision.mode == "live":
                self.decision(decision, [self.leg(trade) for trade in mine.pop(decision.decision_id, [])])
        assert not mine, f"trades without a decision that was made: {sorted(mine)}"
        return self.faults

    def leg(self, trade):
        sign = 1 if trade.side == "SELL" else -1
        key, quantity = (trade.symbol, trade.position_side), Fraction(trade.quantity)
        return Leg(
            trade.trade_id, trade.decision_id, trade.role, trade.account, key, sign, trade.adl_seq, quantity,
            self.minor(trade.quote_amount), self.minor(trade.haircut), trade.round,
        )  # fmt: skip

    def decision(self, decision, legs):
        claims = [self.claims[f"{b.topic}:{b.partition}", b.offset, b.id] for b in decision.bankruptcies]
        ids = tuple(claim.id for claim in claims)
        taken = [leg for leg in legs if leg.role == "COUNTERPARTY"]
        given = [leg for leg in legs if leg.role == "LIQUIDATED"]
        self.check(decision.trades == len(legs), decision, "says", decision.trades, "trades, published", len(legs))
        self.numbers(decision, legs)
        refused_by = set()
        if decision.attempt == 1:
            estates = self.estates(claims)
            self.disagreements(decision, claims, estates)
            wanted = self.takeover(decision, estates, given)
            self.zero_sum(decision, legs)
            self.waterfall(decision, claims, estates, given, taken)
        else:
            refusal = self.refusal(decision, ids)
            if refusal is None:
                return
            wanted, refused_by = {key: cell[0] for key, cell in refusal.wanted.items()}, refusal.refused_by
            self.check(not given, decision, "a later attempt asks liquidated accounts again")
            self.same_cash(decision, refusal, taken)
        self.demands(decision, wanted, taken, given)
        outside = {claim.account for claim in claims} | refused_by
        owners = {self.traders[claim.account].owner for claim in claims} - {None}
        self.counterparties(decision, taken, given, outside, owners)
        self.order(decision, taken, given, outside, owners)
        for leg in legs:
            self.legs[leg.trade_id] = leg
            self.traders[leg.account].legs.append(leg)
        self.decided[decision.decision_id] = (ids, decision.attempt, refused_by)
        for fund, text in decision.fund_draws.items():
            self.draws[fund].append((decision.sequence, self.minor(text)))

    def numbers(self, decision, legs):
        """Legs of an account are numbered without a gap, as published; each trade has an id of its own."""
        for leg in legs:
            expected = max(self.assigned[leg.account], self.traders[leg.account].adl_seq) + 1
            self.check(leg.adl_seq == expected, decision, leg.account, "adl_seq", leg.adl_seq, "expected", expected)
            self.assigned[leg.account] = leg.adl_seq
            self.check(leg.trade_id not in self.legs, decision, "trade id used before", leg.trade_id)
            off = self.off_mark(leg) - leg.haircut
            # Crossings round each pair, and a leg that several events share is rounded for each of them.
            apart = len(legs) if leg.round == 0 else len(decision.bankruptcies) - 1
            self.check(abs(off) <= apart, decision, leg.account, "haircut", leg.haircut)
        for what in (lambda leg: leg.trade_id, lambda leg: (leg.account, leg.key, leg.role, leg.round)):
            self.check(len({what(leg) for leg in legs}) == len(legs), decision, "two legs where one belongs")

    def zero_sum(self, decision, legs):
        for symbol in {leg.key[0] for leg in legs}:
            here = [leg for leg in legs if leg.key[0] == symbol]
            quantity, cash = sum(leg.sign * leg.quantity for leg in here), sum(leg.quote for leg in here)
            self.check(quantity == 0 == cash, decision, symbol, "quantities sum to", quantity, "cash to", cash)

    def refusal(self, decision, ids):
        """The refused legs that a later attempt replaces, which must be some that nobody has replaced yet."""
        demanded, opened = defaultdict(Fraction), {}
        for demand in decision.demands:
            key = (demand.symbol, 1 if demand.side == "LONG" else -1)
            if demand.residual_reason == "LIQUIDATED_LEG_REFUSED":
                self.check(demand.quantity == demand.residual, decision, *key, "open", demand.quantity, demand.residual)
                opened[key] = Fraction(demand.residual)
            else:
                demanded.setdefault(key, Fraction(demand.quantity))
        for refusal in self.refusals:
            amounts = {key: cell[0] for key, cell in refusal.wanted.items()}
            here = refusal.bankruptcies, refusal.attempt, amounts, refusal.open
            if here == (ids, decision.attempt, demanded, opened):
                self.refusals.remove(refusal)
                return refusal
        self.check(False, decision, "replaces nothing that was refused:", dict(demanded), opened)
        return None

    def same_cash(self, decision, refusal, taken):
        """New counterparties pay what the refusing ones would have; what they do not at the mark is bad debt."""
        unpaid = refusal.lost
        for (symbol, sign), (quantity, quote) in refusal.wanted.items():
            here = [leg for leg in taken if (leg.key[0], leg.sign) == (symbol, sign)]
            due = floor(-quote * sum(leg.quantity for leg in here) / quantity)
            paid = -sum(leg.quote for leg in here)
            if not any(self.at_mark(decision, leg, taken) for leg in here):
                self.check(due == paid, decision, symbol, "refused cash was", due, "replaced by", paid)
            unpaid += max(0, due - paid)
        self.check(self.minor(decision.bad_debt) == unpaid, decision, "bad debt", decision.bad_debt, "unpaid", unpaid)


def audit(records, decisions, trades, cuts=(), **settings):
    """Sentences about everything that is wrong with a run; empty where nothing is.

    `cuts`: those published, where prices rest on what was seen at them.
    """
    return Auditor(records, **settings).audit(decisions, trades, cuts)
