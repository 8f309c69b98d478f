"""What each record does to the state, between cuts: one handler per message type, in sequence order.

Rule: a record that is wrong changes nothing; it is noted for its dead letter, and parks what it was about.
"""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from schemas import (
    Account,
    AccountUpdate,
    Bankruptcy,
    Control,
    ForcedTradeResult,
    InputMessage,
    Instrument,
    InsuranceFund,
    MarkPrice,
    PositionBatch,
    Reason,
    Refused,
    RiskModel,
    amount_minor,
    decode,
    encode,
    limits,
)
from worker.batch import Batch
from worker.book.book import Book
from worker.book.plain import KEY_DIFFERS, SYMBOL_BEGIN
from worker.columns import Columns, spans
from worker.decide import Case
from worker.event import Event
from worker.folded import Folded
from worker.funds import Funds
from worker.held import Held, Leg
from worker.ids import digest_of
from worker.reductions import Reductions
from worker.risk import Risk
from worker.settings import Policy, Settings
from worker.updates import batch_updates, plain_updates

NEW_MIN = 16  # fewer accounts are cheaper opened one by one
NEW_MAX = 1000  # more would fall out of the cache, and make a cut wait

POLICIES = get_args(Policy)

Ints = NDArray[np.int64]


class Inputs:
    """The state that records write: book, risk model, held legs, funds, controls, and what waits for a cut."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.policy: str = settings.decision.policy
        self._policy_said: str | None = None  # by the newest control that says one
        self._book = Book(settings.pool.currency, settings.pool.currency_decimals, settings.pool.collateral)
        self._openings = self._book.openings()
        self._new: list[Event] = []  # the records of those
        self._folded = Folded(self._book)
        self.held = Held(self._book)
        self.funds = Funds()
        self.risk = Risk()
        self.reductions = Reductions(settings.reductions)
        self.counts: dict[str, int] = {}
        self._paused = False
        self._waiting: list[tuple[Event, Bankruptcy]] = []  # of a joint group that is not complete
        self._triggered: list[tuple[Event, Bankruptcy]] = []  # by an operator; each cut's own group
        self._cases: list[Case] = []  # in the order in which they will be decided
        self._refused: dict[str, dict[tuple[str, int], list[Leg]]] = {}  # decision id -> legs of this run of results
        self._unanswered: dict[str, int] = {}  # decision id -> legs that may still be refused
        self._letters: list[tuple[Event, Refused]] = []
        self._marks_moved: set[str] = set()
        self._ledger_digest = 0
        self._handlers: dict[type, Callable[[Any, Event], None]] = {
            Instrument: self._on_instrument,
            RiskModel: self._on_risk_model,
            Account: self._on_account,
            AccountUpdate: self._on_account_update,
            PositionBatch: self._on_position_batch,
            MarkPrice: self._on_mark,
            InsuranceFund: self._on_fund,
            ForcedTradeResult: self._on_result,
            Bankruptcy: self._on_bankruptcy,
            Control: self._on_control,
        }

    @property
    def book(self) -> Book:
        """The book as of the last record applied."""
        self.settle()
        return self._book

    def apply(self, step: Event | Batch) -> None:
        """Applies records in sequence order; what they get wrong is answered at the next cut."""
        if isinstance(step, Batch):
            self._apply_batch(step)
        else:
            self._settle_marks()
            self._apply_event(step)

    def _apply_batch(self, batch: Batch) -> None:
        self._settle_openings()  # what marks are judged by must be all that is held
        columns = Columns(batch)
        symbols = self._book.symbols.rows_of(columns.text, *spans(columns.positions, SYMBOL_BEGIN))
        if not self._folded.add(columns, symbols):
            self._settle_marks()
            for event in batch.events():
                self._apply_event(event)
            return
        updates = plain_updates(self._book, columns, symbols)
        self._count("KEY_DIFFERS", int(columns.records[columns.updates, KEY_DIFFERS].sum()))
        for at in updates.left(self._book, self.held):
            event = columns.event(columns.updates[at])
            self._apply(event, event.read())
        self._count("STALE", updates.stale)

    def _count(self, what: str, by: int = 1) -> None:
        if by:
            self.counts[what] = self.counts.get(what, 0) + by

    def _apply_event(self, event: Event) -> None:
        messages = event.read()
        for message in messages:
            if isinstance(message, AccountUpdate | Account):
                self._count_key(event.record.key, message.account)
        if len(messages) == 1 and type(messages[0]) is AccountUpdate and self._openings.add(messages[0]):
            self._new.append(event)
            if len(self._new) >= NEW_MAX:
                self._settle_openings()
            return
        self._settle_openings()
        self._apply(event, messages)

    def _count_key(self, key: bytes | None, account: str) -> None:
        """Counts a record under another key than its account's: a null value with either would miss the other."""
        if key is not None and key != account.encode():
            self._count("KEY_DIFFERS")

    def _apply(self, event: Event, messages: Sequence[InputMessage]) -> None:
        if event.refused is not None:
            self._refuse(event, event.refused, None)
            return
        if event.record.value is None:
            self._remove(event)
        for message in messages:
            try:
                self._handlers[type(message)](message, event)
            except Refused as refused:
                self._refuse(event, refused, message)

    def settle(self) -> None:
        """Applies what waits; before a cut is taken or the book is asked."""
        self._settle_marks()
        self._settle_openings()

    def _settle_marks(self) -> None:
        if self._folded:
            self._settle_openings()
            for message, log_time_ms in self._folded.take():
                self._book.set_mark(message, log_time_ms)
                self._marks_moved.add(message.symbol)

    def _settle_openings(self) -> None:
        """Opens the accounts that wait for it; before anything else is applied."""
        if not self._new:
            return
        events, self._new = self._new, []
        openings, self._openings = self._openings, self._book.openings()
        opened = self._book.open_accounts(openings) if len(events) >= NEW_MIN else [False] * len(events)
        for event, account, done in zip(events, openings.accounts, opened, strict=True):
            if not done:
                self._apply(event, event.read())
            elif self.held.holds(account):
                self.held.sync(account)

    def _on_instrument(self, message: Instrument, _: Event) -> None:
        self.book.set_instrument(message)

    def _on_risk_model(self, message: RiskModel, _: Event) -> None:
        self.risk.set(message)

    def _on_account(self, message: Account, _: Event) -> None:
        self.book.set_account(message)

    def _on_account_update(self, message: AccountUpdate, _: Event) -> None:
        newest = max([message.adl_seq, *(position.adl_seq for position in message.positions)])
        if newest > limits.ADL_SEQ_UNKNOWN_MAX and newest > self.held.newest(message.account):
            raise Refused(Reason.RANGE, f"adl_seq must be one of ours, or at most 2**61, was {newest}")
        outcome = self._book.apply_update(message)
        if outcome != "APPLIED":
            self._count(outcome)
        elif self.held.holds(message.account):
            self.held.sync(message.account)

    def _on_position_batch(self, message: PositionBatch, event: Event) -> None:
        updates, update_of = batch_updates(self._book, message)
        for at in updates.left(self._book, self.held):
            update = update_of(at)
            try:
                decode(encode(update))  # judged as if it had been sent so
                self._on_account_update(update, event)
            except Refused as refused:
                self._refuse(event, refused, update)
        self._count("STALE", updates.stale)

    def _on_mark(self, message: MarkPrice, event: Event) -> None:
        self.book.set_mark(message, event.log_time_ms)
        self._marks_moved.add(message.symbol)

    def _on_fund(self, message: InsuranceFund, _: Event) -> None:
        balance = amount_minor(message.balance, self.book.currency_decimals, "balance")
        self.funds.set(message.fund_id, balance, message.decision_sequence)

    def _on_result(self, message: ForcedTradeResult, _: Event) -> None:
        leg = self.held.find(message.trade_id)
        if leg is None or leg.account != message.account:
            raise Refused(Reason.UNKNOWN_TRADE, f"trade_id must be one of ours to the account, was {message.trade_id}")
        if leg.answered:
            self._count("ANSWERED_TWICE")
            return
        filled = self.book.scale(leg.symbol).lots(message.filled_quantity, "filled_quantity")
        if not 0 <= filled <= leg.lots:
            quantity = self.book.scale(leg.symbol).quantity_text(leg.lots)
            raise Refused(Reason.RANGE, f"filled_quantity must be 0 to {quantity}, was {message.filled_quantity}")
        refused = self.held.answer(leg, filled)
        self._unanswered[leg.decision_id] -= 1
        kept_minor = leg.quote_minor - refused.quote_minor
        self._ledger_digest += digest_of("answered", leg.trade_id, filled, kept_minor)
        if refused.lots:
            legs = self._refused.setdefault(leg.decision_id, {})
            legs.setdefault((leg.symbol, leg.sign), []).append(refused)

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
            self.policy = self._policy_said = str(message.policy)
        elif message.action == "RELEASE":
            case = next((case for case in self._cases if case.decision_id == message.decision_id), None)
            if case is None:
                was = message.decision_id
                raise Refused(Reason.UNKNOWN_DECISION, f"decision_id must be a held decision, was {was}")
            case.released = True
        elif message.bankruptcy is not None:
            self._triggered.append((event, message.bankruptcy))

    def _remove(self, event: Event) -> None:
        """A null value removes the account of its key; elsewhere there is nothing that could be removed."""
        topics = self.settings.input.topics
        if not event.record.key:
            self._refuse(event, Refused(Reason.DECODE, "a null value must have the key that it removes"), None)
        elif event.record.topic in topics["positions"]:
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
        elif isinstance(message, PositionBatch):
            self._park_all(message.accounts, reason)
        elif refused.accounts:
            self._park_all(refused.accounts, reason)
        elif message is None:
            topics = self.settings.input.topics
            topic = event.record.topic
            if topic in topics["positions"]:
                self.book.park_account(_key(event), reason, "AccountUpdate")
            elif topic in topics["accounts"]:
                self.book.park_account(_key(event), reason, "Account")
            elif topic in topics["mark-prices"]:
                self.book.park_symbol(_key(event), reason, "MarkPrice")
            elif topic in topics["instruments"]:
                self.book.park_symbol(_key(event), reason, "Instrument")

    def _park_all(self, accounts: Sequence[str], reason: str) -> None:
        book = self.book
        for account in accounts:
            book.park_account(account, reason, "AccountUpdate")


def _key(event: Event) -> str:
    return (event.record.key or b"").decode("utf-8", "replace")
