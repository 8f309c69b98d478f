"""`adl check`: reads an input stream once, in its one order, and says what is missing or odd in it.

Rule 1: the codec, the order and the book are the worker's own, so what is refused here is what the worker would refuse.
Rule 2: a finding that only follows from another one is not told twice. Nothing is decided: results of forced trades and
controls are counted and not judged, for they answer decisions.
"""

from collections.abc import Callable
from typing import Any, Final

from schemas import (
    Account,
    AccountUpdate,
    Bankruptcy,
    InputMessage,
    Instrument,
    InsuranceFund,
    MarkPrice,
    Reason,
    Refused,
    amount_minor,
)
from worker.batch import events_of
from worker.book.book import Book
from worker.cut import CutPoint
from worker.event import Event
from worker.findings import CheckReport, Findings, Odd, SymbolFacts
from worker.reader import Reader
from worker.record import Record, Source
from worker.settings import Settings

# What a message is about: its key on a topic, and what must stay in one partition of it.
_NAME: Final[dict[type, str]] = {
    Instrument: "symbol", Account: "account", AccountUpdate: "account", MarkPrice: "symbol", Bankruptcy: "account",
    InsuranceFund: "fund_id",
}  # fmt: skip


def check(
    source: Source,
    settings: Settings,
    *,
    compacted: frozenset[str] = frozenset(),
    found: Findings | None = None,
    progress: Callable[[int], None] | None = None,
) -> CheckReport:
    """Reads the source to its end. Raises SettingError.

    `compacted`: the topics known to be. `found`: what was odd before the first record, to be told with the rest.
    """
    reader = Reader(source, settings)
    checker = Checker(settings, compacted, found)
    for steps in reader.steps():
        for step in steps:
            for event in step.cutting if isinstance(step, CutPoint) else events_of(step):
                checker.take(event)
        if progress is not None:
            progress(reader.records)
    return checker.report()


class Checker:
    """The book that the stream makes, and what was odd on the way."""

    def __init__(
        self, settings: Settings, compacted: frozenset[str] = frozenset(), found: Findings | None = None
    ) -> None:
        self._settings = settings
        self._compacted = compacted
        self._book = Book(settings.pool.currency, settings.pool.currency_decimals, settings.pool.collateral)
        self._found = Findings() if found is None else found
        self._partitions: dict[str, int] = {}
        self._messages: dict[str, int] = {}
        self._times: list[int] = []  # first and newest log time
        self._homes: dict[tuple[str, str], int] = {}  # topic, name -> partition
        self._seqs: dict[str, tuple[int, int]] = {}  # account -> newest epoch and seq
        self._steps = [0, 0]  # changes of an account that follow one, and those whose seq is the next number
        self._traders: dict[str, str] = {}  # accounts that should have an update -> where they were named
        self._spoken: set[str] = set()
        self._marks: dict[str, list[int]] = {}  # symbol -> count, newest log time, largest gap
        self._removals = 0
        self._updates_refused: set[str] = set()  # accounts, or keys of what could not be read
        self._handlers: dict[type, Callable[[Any, Event], None]] = {
            Instrument: lambda message, _: self._book.set_instrument(message),
            Account: self._on_account,
            AccountUpdate: self._on_update,
            MarkPrice: self._on_mark,
            Bankruptcy: self._on_bankruptcy,
            InsuranceFund: self._on_fund,
        }

    def take(self, event: Event) -> None:
        """The next record of the stream's one order."""
        record = event.record
        where = f"{record.topic}:{record.partition}"
        self._partitions[where] = self._partitions.get(where, 0) + 1
        if record.log_time_ms < event.log_time_ms:
            back_ms = event.log_time_ms - record.log_time_ms
            self._found.add(Odd.TIME_BACK, record.topic, _place(record), f"{back_ms:,} ms before the record before")
        self._times = [min([*self._times[:1], event.log_time_ms]), max([*self._times[1:], event.log_time_ms])]
        event.messages = event.read()  # may only now turn out to be refused
        if event.refused is not None:
            self._refuse(record, event.refused, None)
        elif record.value is None:
            self._remove(record)
        else:
            self._check_names(event)
            for message in event.messages:
                self._say(message, event)

    def report(self) -> CheckReport:
        """What was found until now, judged as the end of the stream."""
        symbols = [self._facts(market.symbol) for market in self._book.markets]
        self._judge_accounts()
        hidden = [] if self._judges_gaps() else [Odd.SEQ_GAP]
        if self._partitions and not symbols:
            self._found.add(Odd.NO_INSTRUMENTS, "instruments", "-", "no record holds an instrument that is accepted")
            hidden += [Odd.UNKNOWN_SYMBOL]
        topics = {topic for topics in self._settings.input.topics.values() for topic in topics}
        findings = self._found.without(*hidden)
        return CheckReport(
            ok=not any(finding.wrong for finding in findings),
            records=sum(self._partitions.values()),
            begin_ms=self._times[0] if self._times else None,
            end_ms=self._times[1] if self._times else None,
            partitions=dict(sorted(self._partitions.items())),
            silent_topics=sorted(topics - {where.rpartition(":")[0] for where in self._partitions}),
            messages=dict(sorted(self._messages.items())),
            accounts=len(self._seqs),
            removals=self._removals,
            seq_counts_by_one=self._judges_gaps(),
            symbols=sorted(symbols, key=lambda facts: facts.symbol),
            findings=findings,
        )

    # --- each record --------------------------------------------------------------------------------------------------

    def _say(self, message: InputMessage, event: Event) -> None:
        kind = type(message).__name__
        self._messages[kind] = self._messages.get(kind, 0) + 1
        handler = self._handlers.get(type(message))
        if handler is None:
            return
        try:
            handler(message, event)
        except Refused as refused:
            self._refuse(event.record, refused, message)

    def _refuse(self, record: Record, refused: Refused, message: InputMessage | None) -> None:
        if isinstance(message, AccountUpdate):
            if refused.reason == Reason.EPOCH and message.account in self._updates_refused:
                return  # its first, full update was refused: that was told
            self._updates_refused.add(message.account)
        elif message is None and record.topic in self._settings.input.topics["positions"]:
            self._updates_refused.add(_key(record))
        subject, kind = str(refused.reason), Odd.REFUSED
        if refused.reason == Reason.UNKNOWN_SYMBOL:
            subject, kind = record.topic, Odd.UNKNOWN_SYMBOL
        self._found.add(kind, subject, _place(record), refused.sentence)

    def _remove(self, record: Record) -> None:
        topics = self._settings.input.topics
        name = _key(record)
        if record.topic in topics["positions"]:
            self._book.remove_account(name)
            self._seqs.pop(name, None)
        elif record.topic in topics["accounts"]:
            self._book.clear_account(name)
        else:
            self._found.add(Odd.NULL, record.topic, _place(record), f"key {name!r}")
            return
        self._removals += 1

    def _check_names(self, event: Event) -> None:
        record = event.record
        names = {getattr(message, _NAME[type(message)]) for message in event.messages if type(message) in _NAME}
        for name in sorted(names):
            home = self._homes.setdefault((record.topic, name), record.partition)
            if home != record.partition:
                seen = f"{name!r} was in partition {home} before"
                self._found.add(Odd.TWO_PARTITIONS, record.topic, _place(record), seen)
        if len(names) == 1 and record.key != (name := names.pop()).encode():
            self._found.add(Odd.KEY, record.topic, _place(record), f"about {name!r}, key {record.key!r}")

    def _on_account(self, message: Account, event: Event) -> None:
        self._book.set_account(message)
        if message.role == "TRADER":
            self._traders.setdefault(message.account, _place(event.record))

    def _on_update(self, message: AccountUpdate, event: Event) -> None:
        record = event.record
        self._spoken.add(message.account)
        if not message.full and record.topic in self._compacted:
            seen = f"seq {message.seq} of {message.account!r}"
            self._found.add(Odd.DELTA_COMPACTED, record.topic, _place(record), seen)
        epoch, seq = self._seqs.get(message.account, (-1, -1))
        if self._book.apply_update(message) != "APPLIED":
            seen = f"epoch {message.epoch} seq {message.seq} of {message.account!r} after {epoch} and {seq}"
            self._found.add(Odd.SEQ_REPEATED, record.topic, _place(record), seen)
            return
        self._seqs[message.account] = message.epoch, message.seq
        if not message.full:
            self._steps[0] += 1
            self._steps[1] += message.seq == seq + 1
            if message.seq > seq + 1:
                seen = f"seq of {message.account!r} went from {seq} to {message.seq}"
                self._found.add(Odd.SEQ_GAP, record.topic, _place(record), seen)

    def _on_mark(self, message: MarkPrice, event: Event) -> None:
        self._book.set_mark(message, event.log_time_ms)
        count, newest_ms, gap_ms = self._marks.get(message.symbol, [0, event.log_time_ms, 0])
        self._marks[message.symbol] = [count + 1, event.log_time_ms, max(gap_ms, event.log_time_ms - newest_ms)]

    def _on_bankruptcy(self, message: Bankruptcy, event: Event) -> None:
        if not message.lines:
            self._traders.setdefault(message.account, _place(event.record))
        for line in message.lines:
            try:
                self._book.scale(line.symbol)
            except KeyError:
                seen = f"line in {line.symbol!r} of bankruptcy {message.id!r}"
                self._found.add(Odd.UNKNOWN_SYMBOL, event.record.topic, _place(event.record), seen)

    def _on_fund(self, message: InsuranceFund, _: Event) -> None:
        amount_minor(message.balance, self._book.currency_decimals, "balance")

    # --- the end ------------------------------------------------------------------------------------------------------

    def _judges_gaps(self) -> bool:
        """Whether `seq` counts by one here: some exchanges number across accounts, and then nothing can be missed."""
        steps, next_ones = self._steps
        return next_ones * 10 >= steps * 9

    def _judge_accounts(self) -> None:
        for name, place in self._traders.items():
            if name not in self._spoken:
                self._found.add(Odd.NO_UPDATE, "accounts", place, f"account {name!r}")

    def _facts(self, symbol: str) -> SymbolFacts:
        count, newest_ms, gap_ms = self._marks.get(symbol, [0, 0, 0])
        holders = len(self._book.holders(symbol))
        gap_ms = max(gap_ms, self._times[1] - newest_ms)  # up to the end of the stream
        limit_ms = self._settings.decision.mark_age_ms_max
        if holders and not count:
            self._found.add(Odd.NO_MARK, symbol, symbol, f"{holders:,} accounts hold it")
        elif count and gap_ms > limit_ms and self._book.instrument(symbol).status == "TRADING":
            self._found.add(Odd.MARK_AGE, symbol, symbol, f"{gap_ms:,} ms, the limit is {limit_ms:,}")
        lots = self._book.longs_minus_shorts(symbol)
        difference = self._book.scale(symbol).quantity_text(lots)
        if lots and not self._updates_refused:
            self._found.add(Odd.LONGS_SHORTS, symbol, symbol, f"longs less shorts are {difference}")
        return SymbolFacts(
            symbol=symbol,
            holders=holders,
            longs_minus_shorts=difference,
            marks=count,
            mark_gap_ms_max=gap_ms if count else None,
        )


def _key(record: Record) -> str:
    return (record.key or b"").decode("utf-8", "replace")


def _place(record: Record) -> str:
    return f"{record.topic}:{record.partition}@{record.offset}"
