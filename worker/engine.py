"""The pure machine: `apply(event)` between cuts, `cut(point)` at cuts; no clock, chance, environment or logging.

Rule 1: outputs are a function of the inputs' sequence alone. Rule 2: what was published is *applied* when a log is
replayed, by the same routine that applies what was just decided; it is not decided again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np

from schemas import AdlDecision, Bankruptcy, ForcedTrade, MarginReduction, Refused, scaled
from worker.book.market import Market
from worker.claims import Claim, claim_of, groups_of
from worker.cut import BANKRUPTCY, CutPoint, Event
from worker.decide import Case, Decided, Rules, decide, symbols_of
from worker.figures import Figures
from worker.held import Legs
from worker.ids import digest_of, digest_of_columns, short_hash
from worker.legs import Orders, accounts_asked, lots_asked
from worker.output import CUTS, DEAD_LETTERS, DECISIONS, RANKS, REDUCTIONS, STATE, TRADES
from worker.poison import Poison
from worker.ranks import Ranks
from worker.record import Output
from worker.refusals import replacement_of
from worker.settings import DecisionSettings, Settings
from worker.solvent import SolventMarks
from worker.states import Facts, States
from worker.trades import legs_of_trades
from worker.writer import Writer, named

LIMITS = ("NOTIONAL", "ACCOUNTS", "MARK_JUMP")
Published = list[tuple[AdlDecision, list[ForcedTrade]]]


@dataclass(frozen=True, slots=True)
class Start:
    """Where deciding begins: bankruptcies before the log time or before their partition's offset are not ours."""

    log_time_ms: int = 0
    offsets: dict[tuple[str, int], int] | None = None

    def before(self, event: Event) -> bool:
        record = event.record
        offset = (self.offsets or {}).get((record.topic, record.partition), 0)
        return event.log_time_ms < self.log_time_ms or record.offset < offset

    def after(self, point: CutPoint, topics: Collection[str]) -> bool:
        """Whether the cut stands before it: some record of these topics that is not ours is still to come.

        A topic that was added later has its own start; cuts from before it name none of its partitions.
        """
        offsets = self.offsets or {}
        seen = {where: offset for where, offset in point.basis.items() if where[0] in topics}
        behind = any(offset < offsets.get(where, 0) for where, offset in seen.items())
        none_yet = not seen and any(topic in topics for topic, _ in offsets)
        return point.log_time_ms < self.log_time_ms or behind or none_yet


class Engine(Writer):
    """One pool's state and what it decides."""

    def __init__(self, settings: Settings, code_digest: str = "", start: Start | None = None) -> None:
        super().__init__(settings, code_digest)
        self._start = start or Start()
        self._known: dict[str, str] = {}  # bankruptcy id -> decision id
        self._roots: dict[str, Case] = {}  # decision id -> its case, for legs that may still be refused
        self.states = States(settings.state, self.pool)
        self._marks_before: dict[str, int] = {}  # at the last cut
        self.ranks = Ranks(settings)
        self._solvent = SolventMarks(self._book)
        self._silent = False  # the last cut was of a replay
        self.silent_until_ms = 0  # log time of the last cut of a replay, which is taken as any other
        self.poison = Poison()

    def cut(
        self, point: CutPoint, published: Published | None = None, reduced: Sequence[MarginReduction] = ()
    ) -> list[Output]:
        """Takes a cut: applies what stands at it, decides whatever nothing holds; returns what must be written.

        `published` and `reduced` (replay of a log): the decisions and staged reductions that were written at this cut;
        they are applied, none is made.
        """
        self.cut_number += 1
        if published == [] and not reduced and self._asks_nothing(point):
            self._pass(point)
            return []
        for event in point.cutting:
            self.apply(event)
        self.settle()
        self._open_replacements()
        replaying = published is not None
        if self._silent and not replaying:
            self.states.say_again()
        self._silent = replaying
        # A cut inside a joint window must not tear its group, whose last bankruptcy always stands at the cut itself.
        if any(event.kind == BANKRUPTCY for event in point.cutting):
            group, self._waiting = self._waiting, []
            self._admit(group, point, silent=replaying)
        triggered, self._triggered = self._triggered, []
        self._admit(triggered, point, "TRIGGER", silent=replaying)
        self.poison.see(point.log_time_ms, len(self._letters))
        if published is None:
            self._write_letters(point)
            for case in list(self._cases):
                self._decide(case, point)
            self._reduce(point)
            self._write_cut(point)
        else:
            self._letters.clear()
            by_id = {case.decision_id: case for case in self._cases}
            for decision, trades in published:
                if decision.decision_id in by_id:
                    self._adopt(by_id[decision.decision_id], decision, legs_of_trades(self.book, trades))
            self._reduce(point, reduced)
        self._watch(point)
        if not point.cutting and not replaying:  # what was advised is not said again
            for key, rank in self.ranks.watch(self.book, self.policy, self.risk, point.log_time_ms):
                self.outputs.put(RANKS, key, rank, point.log_time_ms)
        self._let_go()
        outputs = self.outputs.take()
        return [] if replaying else outputs

    def figures(self) -> Figures:
        """What is counted, as one value."""
        heads, states = self.outputs.heads, self.states
        return Figures(
            cuts=heads[CUTS][0], decisions=heads[DECISIONS][0], forced_trades=heads[TRADES][0],
            reductions=heads[REDUCTIONS][0], dead_letters=heads[DEAD_LETTERS][0], ranks=self.ranks.said,
            states=dict(states.counts), distance_ppm=states.distance_ppm,
        )  # fmt: skip

    def _asks_nothing(self, point: CutPoint) -> bool:
        """Whether nothing at a watch cut of a silent replay depends on marks that wait (worker/folded.py).

        Applied at each cut, a day of marks of 1,000 symbols would take hours. Never the last silent cut: what is kept
        of a cut for the next one is that one's.
        """
        return (
            point.log_time_ms < self.silent_until_ms
            and not (point.cutting or self._cases or self._waiting or self._triggered or self._refused)
            and not (self._book.parked or self.settings.decision.settlement == "last_solvent_mark")
            and self.reductions.idle
            and not self.states.asks_book(point.log_time_ms)
        )

    def _pass(self, point: CutPoint) -> None:
        """Takes a cut at which nothing is asked: funds and quiet go on, what waits to be applied waits on."""
        self._silent = True
        self._settle_openings()  # marks wait only where these do not
        self.poison.see(point.log_time_ms, len(self._letters))
        self._letters.clear()
        facts = Facts(self._book, self.risk, self.funds.available(), {}, set())
        for _ in self.states.watch(point, facts):
            pass
        self._book.let_go(self.held.numbered)

    def _let_go(self) -> None:
        """Accounts that came and went leave nothing, but for those that had legs: their numbers go on."""
        self.book.let_go(self.held.numbered)

    def _admit(self, group: list[tuple[Event, Bankruptcy]], point: CutPoint, *cause: str, silent: bool) -> None:
        """Turns the bankruptcies of one cut into one joint case; answers those that must not be decided.

        `cause`: what besides its record tells the case from another; one record may hold a trigger and a bankruptcy.
        """
        claims: list[Claim] = []
        answers: list[tuple[Case, str]] = []
        for place, (event, message) in enumerate(group):
            record = event.record
            self.states.name(message.account)
            status = None
            if self._start.before(event):
                status = "BEFORE_START"
            elif message.id in self._known:
                status = "ALREADY_DECIDED"
            elif not message.lines and not self.book.holds(message.account):
                status = "UNKNOWN_ACCOUNT"
            try:
                claim = claim_of(self.book, message, record.topic, record.partition, record.offset)
            except Refused as refused:
                self._refuse(event, refused, message)
                continue
            if status is None:
                claims.append(claim)
                self._know(message.id, "")  # by a decision that has its id once the group is known
                continue
            # One record may hold several events, each with an answer of its own.
            name = short_hash(self.pool, record.topic, record.partition, record.offset, 0, place, *cause)
            answers.append((Case([claim], name, 0), status))
            if status != "ALREADY_DECIDED":
                self._know(message.id, name)
        for part, joint in enumerate(groups_of(self.book, claims)):
            first, which = joint[0], (*cause, part) if part else cause
            decision_id = short_hash(self.pool, first.topic, first.partition, first.offset, 1, *which)
            for claim in joint:
                self._know(claim.message.id, decision_id)
            self._cases.append(Case(joint, decision_id, 1))
        for case, status in () if silent else answers:
            known = self._known[case.claims[0].message.id]
            reason = f"decided as {known}" if status == "ALREADY_DECIDED" else None
            self._write_decision(
                case, point, Decided(status, bankruptcies=list(map(named, case.claims)), reason=reason)
            )

    def _know(self, bankruptcy_id: str, decision_id: str) -> None:
        if bankruptcy_id in self._known:
            self._ledger_digest -= digest_of("known", bankruptcy_id, self._known[bankruptcy_id])
        self._known[bankruptcy_id] = decision_id
        self._ledger_digest += digest_of("known", bankruptcy_id, decision_id)

    def _open_replacements(self) -> None:
        """Legs refused since the last cut become the next attempt of their decision."""
        for decision_id, refused in self._refused.items():
            root = self._roots[decision_id]
            waiting = [case.replacement for case in self._cases if case.replacement and case.gone is root.gone]
            replacement = replacement_of(refused, root.gone, waiting)
            if root.replacement is not None:
                replacement.refused_by |= root.replacement.refused_by
            attempt, first = root.attempt + 1, root.claims[0]
            # Legs of one attempt may be refused in several runs of results, so the attempt alone names no decision.
            name = short_hash(
                self.pool, first.topic, first.partition, first.offset, attempt,
                *sorted(leg.trade_id for legs in refused.values() for leg in legs),
            )  # fmt: skip
            self._cases.append(Case(root.claims, name, attempt, replacement, root.gone))
        self._refused = {}
        # An update that shows a leg does not end the matter: a refusal may come behind it. A result does.
        for decision_id in [name for name, legs in self._unanswered.items() if not legs]:
            del self._unanswered[decision_id], self._roots[decision_id]

    def _decide(self, case: Case, point: CutPoint) -> None:
        settings = self.settings.decision
        if not case.released and (case.held_reason or "").startswith(LIMITS):
            return  # a person must look at it, also when the next cut no longer shows why
        reason = self._holds(case)
        if reason is not None:
            self._hold(case, point, reason)
            return
        decided = decide(self.book, case, self._rules(), self.funds.available())
        reason = None if case.released else self._beyond(case, decided, settings)
        if reason is not None:
            self._hold(case, point, reason)
            return
        decision, legs = self._write_decision(case, point, decided)
        self._adopt(case, decision, legs)

    def _rules(self) -> Rules:
        settings, last_mark = self.settings, self._solvent.mark
        return Rules(settings.decision, self.policy, self.risk, settings.pool.clearing_account, self._fits, last_mark)

    def _fits(self, orders: Orders) -> bool:
        return self.held.fits(orders.account, orders.key, orders.lots, orders.quote_minor)

    def _hold(self, case: Case, point: CutPoint, reason: str) -> None:
        """Says once why a case waits."""
        if reason != case.held_reason:
            case.held_reason = reason
            names = [named(claim) for claim in case.claims]
            self._write_decision(case, point, Decided("HELD", bankruptcies=names, reason=reason))

    def _holds(self, case: Case) -> str | None:
        """Why the case must wait, if it must: a pause, or a mark of a liquidated symbol that is missing or stale."""
        if self._paused:
            return "PAUSED"
        age_ms_max = self.settings.decision.mark_age_ms_max
        event_ms = max(claim.message.event_time_ms for claim in case.claims)
        for symbol in sorted(symbols_of(self.book, case)):
            market = self.book.market(symbol)
            if market.mark == 0:
                return f"MARK_MISSING {symbol}"
            if market.parked:
                return f"SYMBOL_PARKED {symbol}"
            if event_ms - market.event_time_ms > age_ms_max:
                return f"MARK_STALE {symbol}"
        return None

    def _beyond(self, case: Case, decided: Decided, settings: DecisionSettings) -> str | None:
        """The limit that a decision is beyond, in words; None where it is within all."""
        unit = 10**self.book.currency_decimals
        if settings.notional_max is not None:
            notional = sum(self._notional_minor(*asked) for asked in lots_asked(decided.orders).items())
            if notional > Fraction(settings.notional_max) * unit:
                return f"NOTIONAL {Decimal(round(notional)) / unit} above {settings.notional_max}"
        if settings.accounts_max is not None:
            touched = accounts_asked(decided.orders)
            if touched > settings.accounts_max:
                return f"ACCOUNTS {touched} above {settings.accounts_max}"
        if settings.mark_jump_max is not None:
            for symbol in sorted(symbols_of(self.book, case)):
                before, mark = self._marks_before.get(symbol, 0), self.book.market(symbol).mark
                if before and abs(mark - before) > Fraction(settings.mark_jump_max) * before:
                    return f"MARK_JUMP {symbol}"
        return None

    def _notional_minor(self, symbol_row: int, lots: int) -> Fraction:
        market = self.book.markets[symbol_row]
        return Fraction(lots * market.mark_num, market.den)

    # --- what it changes ----------------------------------------------------------------------------------------------

    def _adopt(self, case: Case, decision: AdlDecision, legs: Legs) -> None:
        """Books what was published: held legs, fund draws, the case closed or still held."""
        if decision.status == "HELD":
            case.held_reason = decision.reason
            return
        self._cases.remove(case)
        self.states.take(decision)
        if decision.mode != "live":
            return
        for fund_id, text in decision.fund_draws.items():
            self.funds.draw(fund_id, scaled(text, self.book.currency_decimals), decision.sequence)
        if legs.trade_id.size:
            self._roots[case.decision_id] = case
            self._unanswered[case.decision_id] = len(legs.trade_id)
            numbers = np.stack((legs.adl_seq, legs.lots, legs.quote_minor)).astype("<i8").tobytes()
            self._ledger_digest += digest_of_columns(b"ordered", legs.trade_id.tobytes(), numbers)
            self.held.add(case.decision_id, legs)

    def _reduce(self, point: CutPoint, published: Sequence[MarginReduction] | None = None) -> None:
        """Staged reductions, at watch cuts: what is due is written, or what was published is applied."""
        if point.cutting or (self.reductions.idle and not published):
            return
        now_ms, age_ms_max = point.log_time_ms, self.settings.decision.mark_age_ms_max

        def is_marked(market: Market) -> bool:
            return market.mark > 0 and not market.parked

        def is_known(market: Market) -> bool:
            return is_marked(market) and now_ms - market.log_time_ms <= age_ms_max

        self.reductions.recover(self.book, now_ms, is_marked)  # by no setting: what is kept must outlast a change
        if published is None:
            if not self.live or self._paused or self._start.after(point, self.settings.input.topics["mark-prices"]):
                return
            excluded = {self.settings.pool.clearing_account, *(message.account for _, message in self._waiting)}
            excluded |= {claim.message.account for case in self._cases for claim in case.claims}
            due = self.reductions.due(
                self.book, now_ms, is_known, excluded, lambda: self.risk.returns(self.book.markets)
            )
            published = self._write_reductions(point, due)
        for reduction in published:
            self.reductions.apply(reduction)

    def _watch(self, point: CutPoint) -> None:
        """History that is looked at in cuts only: marks for the jump limit, states of symbols."""
        for symbol in self._marks_moved:
            self._marks_before[symbol] = self.book.market(symbol).mark
        self._marks_moved.clear()
        if self._notes_solvent and not point.cutting:
            self._solvent_digest += self._solvent.watch()
        blocked = self.book.blocked_symbols()
        for case in self._cases:
            if case.held_reason is not None:
                for symbol in symbols_of(self.book, case):
                    blocked.setdefault(symbol, case.held_reason)
        waiting = {claim.message.account for case in self._cases for claim in case.claims}
        facts = Facts(self.book, self.risk, self.funds.available(), blocked, waiting)
        for key, message in self.states.watch(point, facts):
            self.outputs.put(STATE, key, message, point.log_time_ms)
