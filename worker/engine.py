"""The pure machine: state, `apply(event)` between cuts, `cut(point)` at cuts; no clock, chance, environment or logging.

Rule 1: outputs are a function of the inputs' sequence alone. Rule 2: what was published is *applied* when a log is
replayed, by the same routine that applies what was just decided; it is not decided again.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from typing import get_args, get_type_hints

from schemas import (
    Account,
    AccountUpdate,
    AdlDecision,
    AdlState,
    Bankruptcy,
    Control,
    Cut,
    DeadLetter,
    DecidedBankruptcy,
    ForcedTrade,
    ForcedTradeResult,
    InputMessage,
    Instrument,
    InsuranceFund,
    MarkPrice,
    Reason,
    Refused,
    amount_minor,
    scaled,
    text_of,
)
from worker.book.book import Book
from worker.cut import BANKRUPTCY, CutPoint, Event
from worker.decide import Case, Decided, Replacement, decide, symbols_of
from worker.funds import Funds
from worker.held import Held, Leg
from worker.legs import Order
from worker.output import CUTS, DEAD_LETTERS, DECISIONS, STATE, TRADES, OutputLog
from worker.record import Output
from worker.settings import DecisionSettings, Settings, settings_digest
from worker.takeover import Claim, Line, claim_of

POLICIES = get_args(get_type_hints(DecisionSettings)["policy"])
LIMITS = ("NOTIONAL", "ACCOUNTS", "MARK_JUMP")
Published = list[tuple[AdlDecision, list[ForcedTrade]]]


def digest_of(*parts: object) -> int:
    """128 bits of one cell that is not in the book's columns."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=16).digest(), "big")


def short_hash(*parts: object) -> str:
    """An id: 32 hex digits of what makes the thing the only one of its kind."""
    return blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Start:
    """Where deciding begins: bankruptcies before the log time or before their partition's offset are not ours."""

    log_time_ms: int = 0
    offsets: dict[tuple[str, int], int] | None = None

    def before(self, event: Event) -> bool:
        record = event.record
        offset = (self.offsets or {}).get((record.topic, record.partition), 0)
        return event.log_time_ms < self.log_time_ms or record.offset < offset


class Engine:
    """One pool's state; `outputs` collects what must be written in the transaction."""

    def __init__(self, settings: Settings, code_digest: str = "", start: Start | None = None) -> None:
        self.settings = settings
        self.pool = settings.pool.name
        self.live = settings.worker.mode == "live"
        self.policy: str = settings.decision.policy
        self.book = Book(settings.pool.currency, settings.pool.currency_decimals)
        self.held = Held(self.book)
        self.funds = Funds()
        self.outputs = OutputLog(self.pool)
        self.cut_number = 0
        self.counts: dict[str, int] = {}
        self._start = start or Start()
        self._code_digest = code_digest
        self._settings_digest = settings_digest(settings)
        self._paused = False
        self._waiting: list[tuple[Event, Bankruptcy]] = []  # of a joint group that is not complete
        self._triggered: list[tuple[Event, Bankruptcy]] = []  # by an operator; each cut's own group
        self._cases: list[Case] = []  # in the order in which they will be decided
        self._known: dict[str, str] = {}  # bankruptcy id -> decision id
        self._roots: dict[str, Case] = {}  # decision id -> its case, while trades of it are open
        self._refused: dict[str, dict[tuple[str, int], list[Leg]]] = {}  # decision id -> legs of this run of results
        self._letters: list[tuple[Event, Refused]] = []
        self._blocked: dict[str, str] = {}
        self._marks_before: dict[str, int] = {}  # at the last cut
        self._marks_moved: set[str] = set()
        self._ledger_digest = 0
        self._handlers = {
            Instrument: self._on_instrument,
            Account: self._on_account,
            AccountUpdate: self._on_account_update,
            MarkPrice: self._on_mark,
            InsuranceFund: self._on_fund,
            ForcedTradeResult: self._on_result,
            Bankruptcy: self._on_bankruptcy,
            Control: self._on_control,
        }

    # --- between cuts -------------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Applies one record in sequence order; what it gets wrong is answered at the next cut."""
        if event.refused is not None:
            self._refuse(event, event.refused, None)
            return
        if event.record.value is None:
            self._remove(event)
        for message in event.messages:
            try:
                self._handlers[type(message)](message, event)  # type: ignore[operator]  # keyed by its own type
            except Refused as refused:
                self._refuse(event, refused, message)

    def _on_instrument(self, message: Instrument, _: Event) -> None:
        self.book.set_instrument(message)

    def _on_account(self, message: Account, _: Event) -> None:
        self.book.set_account(message)

    def _on_account_update(self, message: AccountUpdate, _: Event) -> None:
        outcome = self.book.apply_update(message)
        if outcome != "APPLIED":
            self.counts[outcome] = self.counts.get(outcome, 0) + 1
        elif self.held.holds(message.account):
            self.held.sync(message.account)

    def _on_mark(self, message: MarkPrice, event: Event) -> None:
        self.book.set_mark(message, event.log_time_ms)
        self._marks_moved.add(message.symbol)

    def _on_fund(self, message: InsuranceFund, _: Event) -> None:
        balance = amount_minor(message.balance, self.book.currency_decimals, "balance")
        self.funds.set(message.fund_id, balance, message.decision_sequence)

    def _on_result(self, message: ForcedTradeResult, _: Event) -> None:
        leg = self.held.by_trade.get(message.trade_id)
        if leg is None or leg.account != message.account:
            raise Refused(Reason.UNKNOWN_TRADE, f"trade_id must be one of ours to the account, was {message.trade_id}")
        if leg.answered:
            self.counts["ANSWERED_TWICE"] = self.counts.get("ANSWERED_TWICE", 0) + 1
            return
        filled = self.book.scale(leg.symbol).lots(message.filled_quantity, "filled_quantity")
        if not 0 <= filled <= leg.lots:
            quantity = self.book.scale(leg.symbol).quantity_text(leg.lots)
            raise Refused(Reason.RANGE, f"filled_quantity must be 0 to {quantity}, was {message.filled_quantity}")
        self._ledger_digest -= digest_of("leg", leg.trade_id, leg.lots, leg.quote_minor, leg.answered)
        whole = replace(leg)
        refused = self.held.refuse(leg, filled)
        self._ledger_digest += digest_of("leg", leg.trade_id, leg.lots, leg.quote_minor, leg.answered)
        if refused:
            whole.lots, whole.quote_minor = refused, whole.quote_minor - leg.quote_minor
            legs = self._refused.setdefault(leg.decision_id, {})
            legs.setdefault((leg.symbol, 1 if leg.sells else -1), []).append(whole)

    def _on_bankruptcy(self, message: Bankruptcy, event: Event) -> None:
        self._waiting.append((event, message))

    def _on_control(self, message: Control, event: Event) -> None:
        if message.action == "PAUSE":
            self._paused = True
        elif message.action == "RESUME":
            self._paused = False
        elif message.action == "POLICY":
            if message.policy not in POLICIES:
                raise Refused(Reason.FIELD, f"policy must be one of {', '.join(POLICIES)}, was {message.policy}")
            self.policy = str(message.policy)
        elif message.action == "RELEASE":
            case = next((case for case in self._cases if case.decision_id == message.decision_id), None)
            if case is None:
                raise Refused(Reason.UNKNOWN_DECISION, f"decision_id must be a held decision, was {message.decision_id}")
            case.released = True
        elif message.bankruptcy is not None:
            self._triggered.append((event, message.bankruptcy))

    def _remove(self, event: Event) -> None:
        """A null value removes the account of its key; elsewhere there is nothing that could be removed."""
        topics = self.settings.input.topics
        if event.record.topic in topics["positions"]:
            self.book.remove_account(_key(event))
        elif event.record.topic in topics["accounts"]:
            self.book.clear_account(_key(event))
        else:
            refused = Refused(Reason.DECODE, "a value must not be null, except on topics of positions and accounts")
            self._refuse(event, refused, None)

    def _refuse(self, event: Event, refused: Refused, message: InputMessage | None) -> None:
        """Notes a dead letter, and parks the account or symbol whose state is now unknown."""
        self._letters.append((event, refused))
        reason = f"{refused.reason}: {refused.sentence}"
        if isinstance(message, AccountUpdate | Account):
            self.book.park_account(message.account, reason, type(message).__name__)
        elif isinstance(message, Instrument | MarkPrice):
            self.book.park_symbol(message.symbol, reason, type(message).__name__)
        elif message is None:
            topics = self.settings.input.topics
            for kind, source in (("positions", "AccountUpdate"), ("accounts", "Account")):
                if event.record.topic in topics[kind]:
                    self.book.park_account(_key(event), reason, source)
                    return
            for kind, source in (("mark-prices", "MarkPrice"), ("instruments", "Instrument")):
                if event.record.topic in topics[kind]:
                    self.book.park_symbol(_key(event), reason, source)
                    return

    # --- at cuts ------------------------------------------------------------------------------------------------------

    def cut(self, point: CutPoint, published: Published | None = None) -> list[Output]:
        """Takes a cut: applies what stands at it, decides whatever nothing holds; returns what must be written.

        `published` (replay of a log): the decisions that were written at this cut; they are applied, nothing is decided.
        """
        self.cut_number += 1
        for event in point.cutting:
            self.apply(event)
        self._open_replacements()
        replaying = published is not None
        # A cut inside a joint window must not tear its group, whose last bankruptcy always stands at the cut itself.
        if any(event.kind == BANKRUPTCY for event in point.cutting):
            group, self._waiting = self._waiting, []
            self._admit(group, point, silent=replaying)
        triggered, self._triggered = self._triggered, []
        self._admit(triggered, point, silent=replaying)
        if published is None:
            self._write_letters(point)
            for case in list(self._cases):
                self._decide(case, point)
            self._write_cut(point)
        else:
            self._letters.clear()
            by_id = {case.decision_id: case for case in self._cases}
            for decision, trades in published:
                if decision.decision_id in by_id:
                    self._adopt(by_id[decision.decision_id], decision, trades)
        self._watch(point)
        outputs = self.outputs.take()
        return [] if replaying else outputs

    def digest(self) -> str:
        """The state digest, 32 hex digits."""
        cases = [(case.decision_id, case.attempt, case.released, case.held_reason) for case in self._cases]
        orders = digest_of("orders", self._paused, self.policy, cases)
        return f"{(self.book.digest() + self.funds.digest() + self._ledger_digest + orders) % 2**128:032x}"

    def _admit(self, group: list[tuple[Event, Bankruptcy]], point: CutPoint, *, silent: bool) -> None:
        """Turns the bankruptcies of one cut into one joint case; answers those that must not be decided."""
        claims: list[Claim] = []
        for event, message in group:
            record = event.record
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
                self._know(message.id, short_hash(self.pool, record.topic, record.partition, record.offset, 1))
                continue
            case = Case([claim], short_hash(self.pool, record.topic, record.partition, record.offset, 0), 0)
            if status != "ALREADY_DECIDED":
                self._know(message.id, case.decision_id)
            if not silent:
                reason = f"decided as {self._known[message.id]}" if status == "ALREADY_DECIDED" else None
                self._write_decision(case, point, Decided(status, bankruptcies=[_named(claim)], reason=reason))
        if claims:
            first = claims[0]
            decision_id = short_hash(self.pool, first.topic, first.partition, first.offset, 1)
            for claim in claims:
                self._know(claim.message.id, decision_id)
            self._cases.append(Case(claims, decision_id, 1, root_id=decision_id))

    def _know(self, bankruptcy_id: str, decision_id: str) -> None:
        if bankruptcy_id in self._known:
            self._ledger_digest -= digest_of("known", bankruptcy_id, self._known[bankruptcy_id])
        self._known[bankruptcy_id] = decision_id
        self._ledger_digest += digest_of("known", bankruptcy_id, decision_id)

    def _open_replacements(self) -> None:
        """Legs refused since the last cut become the next attempt of their decision."""
        for decision_id, demands in self._refused.items():
            root = self._roots[decision_id]
            lines: dict[tuple[str, int], Line] = {}
            refused_by: set[str] = set()
            for (symbol, side), legs in sorted(demands.items()):
                mine = [leg for leg in legs if leg.role == "COUNTERPARTY"]
                refused_by.update(leg.account for leg in mine)
                lots = sum(leg.lots for leg in mine)
                if lots:
                    cash = -sum(leg.quote_minor for leg in mine)
                    scale = self.book.scale(symbol)
                    price = Fraction(-side * cash, lots)
                    lines[symbol, side] = Line(symbol, "NET", -side, lots, scale, 0, True, price, left=lots)
            if root.replacement is not None:
                refused_by |= root.replacement.refused_by
            if lines:
                attempt = root.attempt + 1
                first = root.claims[0]
                # Legs of one attempt may be refused in several runs of results, so the attempt alone names no decision.
                name = short_hash(
                    self.pool, first.topic, first.partition, first.offset, attempt,
                    *sorted(leg.trade_id for legs in demands.values() for leg in legs),
                )  # fmt: skip
                self._cases.append(Case(root.claims, name, attempt, Replacement(lines, refused_by), root.root_id))
        self._refused = {}

    def _decide(self, case: Case, point: CutPoint) -> None:
        settings = self.settings.decision
        if not case.released and (case.held_reason or "").startswith(LIMITS):
            return  # a person must look at it, also when the next cut no longer shows why
        reason = self._holds(case)
        if reason is None:
            available = self.funds.available()
            decided = decide(self.book, case, settings, self.policy, available)
            reason = None if case.released else self._beyond(case, decided, settings)
        if reason is not None:
            if reason != case.held_reason:
                case.held_reason = reason
                names = [_named(claim) for claim in case.claims]
                self._write_decision(case, point, Decided("HELD", bankruptcies=names, reason=reason))
            return
        decision, trades = self._write_decision(case, point, decided)
        self._adopt(case, decision, trades)

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
            notional = sum(
                Fraction(order.lots) * self._lot_minor(order.symbol)
                for order in decided.orders
                if order.role == "COUNTERPARTY"
            )
            if notional > Fraction(settings.notional_max) * unit:
                return f"NOTIONAL {Decimal(round(notional)) / unit} above {settings.notional_max}"
        if settings.accounts_max is not None:
            touched = len({order.account for order in decided.orders if order.role == "COUNTERPARTY"})
            if touched > settings.accounts_max:
                return f"ACCOUNTS {touched} above {settings.accounts_max}"
        if settings.mark_jump_max is not None:
            for symbol in sorted(symbols_of(self.book, case)):
                before, mark = self._marks_before.get(symbol, 0), self.book.market(symbol).mark
                if before and abs(mark - before) > Fraction(settings.mark_jump_max) * before:
                    return f"MARK_JUMP {symbol}"
        return None

    def _lot_minor(self, symbol: str) -> Fraction:
        market = self.book.market(symbol)
        return Fraction(market.mark_num, market.den)

    # --- what is written, and what it changes -------------------------------------------------------------------------

    def _write_decision(
        self, case: Case, point: CutPoint, decided: Decided
    ) -> tuple[AdlDecision, list[ForcedTrade]]:
        decimals = self.book.currency_decimals
        sequence, chain = self.outputs.next(DECISIONS)
        decision = AdlDecision(
            pool=self.pool,
            sequence=sequence,
            chain=chain,
            decision_id=case.decision_id,
            attempt=case.attempt,
            status=decided.status,  # type: ignore[arg-type]  # one of the closed list
            mode="live" if self.live else "shadow",
            cut_number=self.cut_number,
            cut_time_ms=point.log_time_ms,
            basis=_basis(point),
            settings_digest=self._settings_digest,
            state_digest=self.digest(),
            code_digest=self._code_digest,
            bankruptcies=decided.bankruptcies or [_named(claim) for claim in case.claims],
            reason=decided.reason,
            policy=self.policy,
            settlement=self.settings.decision.settlement,
            demands=decided.demands,
            crossings=decided.crossings,
            certificates=decided.certificates,
            trades=len(decided.orders),
            accounts=len({o.account for o in decided.orders if o.role == "COUNTERPARTY"}),
            accounts_without_mark=decided.accounts_without_mark,
            accounts_insolvent=decided.accounts_insolvent,
            fund=text_of(decided.fund_minor, decimals),
            fund_draws={fund: text_of(paid, decimals) for fund, paid in decided.fund_draws.items()},
            haircut=text_of(decided.haircut_minor, decimals),
            bad_debt=text_of(decided.bad_debt_minor, decimals),
        )
        self.outputs.put(DECISIONS, self.pool, decision, point.log_time_ms)
        trades = self._write_trades(case, point, decided.orders) if self.live else []
        return decision, trades

    def _write_trades(self, case: Case, point: CutPoint, orders: list[Order]) -> list[ForcedTrade]:
        decimals = self.book.currency_decimals
        clearing = self.settings.pool.clearing_account
        numbers: dict[str, int] = {}
        strict = self.settings.decision.strict_guard
        trades: list[ForcedTrade] = []
        for order in orders:
            account, symbol, side = order.account, order.symbol, order.position_side
            numbers[account] = adl_seq = (numbers.get(account) or self.held.next_adl_seq(account) - 1) + 1
            sequence, chain = self.outputs.next(TRADES)
            scale = self.book.scale(symbol)
            quote = abs(order.quote_minor) * scale.value_den
            price = (2 * quote + (unit := order.lots * scale.value_num)) // (2 * unit)
            trade = ForcedTrade(
                pool=self.pool,
                sequence=sequence,
                chain=chain,
                trade_id=short_hash(case.decision_id, order.round, account, symbol, side, order.role),
                decision_id=case.decision_id,
                adl_seq=adl_seq,
                role=order.role,
                account=account,
                symbol=symbol,
                position_side=side,
                side="SELL" if order.sign > 0 else "BUY",
                quantity=scale.quantity_text(order.lots),
                quote_amount=text_of(order.quote_minor, decimals),
                price=scale.price_text(price),
                clearing_account=clearing,
                round=order.round,
                haircut=text_of(order.haircut_minor, decimals),
                leverage=order.leverage if order.leverage is not None and order.leverage < 1e18 else None,
                score=order.score,
                account_seq=self.book.account_seq(account) if strict else None,
            )
            self.outputs.put(TRADES, account, trade, point.log_time_ms)
            trades.append(trade)
        return trades

    def _adopt(self, case: Case, decision: AdlDecision, trades: list[ForcedTrade]) -> None:
        """Books what was published: held legs, fund draws, the case closed or still held."""
        if decision.status == "HELD":
            case.held_reason = decision.reason
            return
        self._cases.remove(case)
        if decision.mode != "live":
            return
        decimals = self.book.currency_decimals
        for fund_id, text in decision.fund_draws.items():
            self.funds.draw(fund_id, scaled(text, decimals), decision.sequence)
        if trades:
            self._roots[case.decision_id] = case
        for trade in trades:
            lots = self.book.scale(trade.symbol).lots(trade.quantity)
            quote = scaled(trade.quote_amount, decimals)
            leg = Leg(
                trade.trade_id, trade.decision_id, trade.role, trade.account, trade.symbol, trade.position_side,
                trade.side == "SELL", trade.adl_seq, lots, lots, quote,
            )  # fmt: skip
            self._ledger_digest += digest_of("leg", leg.trade_id, leg.lots, leg.quote_minor, leg.answered)
            self.held.add(leg)
        for account in sorted({trade.account for trade in trades}):
            self.held.sync(account)

    def _write_letters(self, point: CutPoint) -> None:
        for event, refused in self._letters:
            record = event.record
            sequence, chain = self.outputs.next(DEAD_LETTERS)
            letter = DeadLetter(
                pool=self.pool, sequence=sequence, chain=chain, reason=refused.reason, sentence=refused.sentence,
                topic=record.topic, partition=record.partition, offset=record.offset,
                key=record.key, payload=record.value,
            )  # fmt: skip
            self.counts[refused.reason] = self.counts.get(refused.reason, 0) + 1
            self.outputs.put(DEAD_LETTERS, record.topic, letter, point.log_time_ms)
        self._letters.clear()

    def _write_cut(self, point: CutPoint) -> None:
        sequence, chain = self.outputs.next(CUTS)
        cut = Cut(
            pool=self.pool, sequence=sequence, chain=chain, number=self.cut_number,
            log_time_ms=point.log_time_ms, basis=_basis(point),
        )  # fmt: skip
        self.outputs.put(CUTS, self.pool, cut, point.log_time_ms)

    def _watch(self, point: CutPoint) -> None:
        """History that is looked at in cuts only: marks for the jump limit, symbols that are blocked."""
        for symbol in self._marks_moved:
            self._marks_before[symbol] = self.book.market(symbol).mark
        self._marks_moved.clear()
        blocked = self.book.blocked_symbols()
        for case in self._cases:
            if case.held_reason is not None:
                for symbol in symbols_of(self.book, case):
                    blocked.setdefault(symbol, case.held_reason)
        for symbol in sorted(blocked.keys() | self._blocked.keys()):
            reason = blocked.get(symbol)
            if reason != self._blocked.get(symbol):
                state = AdlState(
                    pool=self.pool, symbol=symbol, state="NORMAL" if reason is None else "BLOCKED",
                    cut_time_ms=point.log_time_ms, trigger=reason,
                )  # fmt: skip
                self.outputs.put(STATE, symbol, state, point.log_time_ms)
        self._blocked = blocked


def _key(event: Event) -> str:
    return (event.record.key or b"").decode("utf-8", "replace")


def _basis(point: CutPoint) -> dict[str, int]:
    return {f"{topic}:{partition}": offset for (topic, partition), offset in point.basis.items()}


def _named(claim: Claim) -> DecidedBankruptcy:
    """A bankruptcy for which nothing was computed."""
    return DecidedBankruptcy(
        id=claim.message.id, account=claim.message.account, topic=claim.topic, partition=claim.partition,
        offset=claim.offset, equity="0", deficit="0", fund="0", haircut="0", bad_debt="0",
        fund_id=claim.message.fund_id,
    )  # fmt: skip
