"""A tiny exchange behind the recording: it fills every forced trade completely, and says so before the next burst.

The base recording is static: nothing of what the worker orders ever happens in it, the lots stay *held*, and because
held lots count as gone the worker's effective book is right all the same. This closes the loop instead; both ways must
give the same trades, which is a test. It is a Source that hands out one burst at a time (its ends grow, as on a live
log) and a Sink that passes on what it is given.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zlib import crc32

from schemas.codec import decode_output, encode
from schemas.messages import AccountUpdate, Balance, ForcedTrade, ForcedTradeResult, Position
from schemas.units import text_of
from tests.oct10.convert import PARTITIONS
from tests.oct10.data import CURRENCY, CURRENCY_DECIMALS
from tests.oct10.ledger import Ledger, integer, read_recording
from worker.edge.jsonlines import read_records
from worker.record import END, Committed, Output, Partition, Record, Sink

RESULTS = "forced-trade-results"
RESULTS_PARTITION: Partition = (RESULTS, 0)
DELAY_MS = 1  # bursts are more than a second apart


class TinyExchange:
    """Source: the recording burst by burst, each followed by the updates and results of the trades it caused."""

    def __init__(self, recording: Path) -> None:
        self.ledger: Ledger = read_recording(recording)[0]
        records = [record for block in read_records(recording) for record in block]
        times = sorted({record.log_time_ms for record in records if record.topic == "bankruptcies"})
        self._chunks: list[list[Record]] = [[] for _ in times]
        chunk_of = {t_ms: index for index, t_ms in enumerate(times)}
        for record in records:
            self._chunks[chunk_of.get(record.log_time_ms, 0)].append(record)
        self._partitions = sorted({(record.topic, record.partition) for record in records} | {RESULTS_PARTITION})
        self._ends: dict[Partition, int] = dict.fromkeys(self._partitions, 0)
        self._next_offset = {RESULTS_PARTITION: 0} | {
            (record.topic, record.partition): record.offset + 1 for record in records
        }
        self._seq: dict[str, int] = defaultdict(lambda: 1)
        self._answers: list[Record] = []
        self._given = 0
        self._queue: list[Record] = []
        self._now_ms = -END

    def partitions(self) -> list[Partition]:
        """The recording's, and that of the results."""
        return self._partitions

    def ends(self) -> dict[Partition, int]:
        """The ends of what exists by now."""
        return dict(self._ends)

    def complete_until_ms(self, partition: Partition) -> int:  # noqa: ARG002  # the same for all of them
        """Nothing older than a burst comes after it."""
        if self.at_end():
            return END
        return self._now_ms if self._given < len(self._queue) else self._now_ms + 1

    def poll(self, max_records: int) -> list[Record]:
        """The rest of this burst, then what it caused and the next one."""
        if self._given >= len(self._queue):
            self._load(self._answers + (self._chunks.pop(0) if self._chunks else []))
        records = self._queue[self._given : self._given + max_records]
        self._given += len(records)
        self._now_ms = max([self._now_ms, *(record.log_time_ms for record in records)])
        return records

    def at_end(self) -> bool:
        """True when the last burst's trades have been answered."""
        return not self._chunks and not self._answers and self._given >= len(self._queue)

    def execute(self, trades: Sequence[ForcedTrade], decided_ms: int) -> None:
        """Fills the trades of one burst and appends one update per account and all results."""
        log_time_ms = decided_ms + DELAY_MS
        touched: dict[str, list[ForcedTrade]] = defaultdict(list)
        for trade in trades:
            touched[trade.account].append(trade)
        for name, legs in touched.items():
            seq = self._fill(name, legs, log_time_ms)
            for leg in legs:
                result = ForcedTradeResult(trade_id=leg.trade_id, account=name, filled_quantity=leg.quantity, seq=seq)
                self._append(RESULTS, 0, log_time_ms, name, encode(result))

    def _fill(self, name: str, legs: list[ForcedTrade], log_time_ms: int) -> int | None:
        """Moves the account's legs and publishes one update; a bankrupt account's book is in no recording."""
        account = self.ledger.name.get(name)
        if account is None:
            return None
        positions: dict[int, Position] = {}
        for leg in legs:
            asset = self.ledger.symbol[leg.symbol]
            slot = self.ledger.slot[account, asset]
            sign = 1 if leg.side == "SELL" else -1
            lots = self.ledger.lots_of(asset, leg.quantity)
            self.ledger.take(slot, sign, lots, integer(leg.quote_amount, CURRENCY_DECIMALS))
            positions[slot] = Position(
                symbol=leg.symbol,
                quantity=self.ledger.quantity_text(slot),
                entry_value=text_of(int(self.ledger.entry[slot]), CURRENCY_DECIMALS),
                adl_seq=leg.adl_seq,
            )
        self._seq[name] += 1
        amount = text_of(self.ledger.balance_minor(account), CURRENCY_DECIMALS)
        update = AccountUpdate(
            account=name,
            epoch=1,
            seq=self._seq[name],
            adl_seq=max(leg.adl_seq for leg in legs),
            balances=[Balance(currency=CURRENCY, amount=amount)],
            positions=list(positions.values()),
        )
        partition = crc32(name.encode()) % PARTITIONS["positions"]
        self._append("positions", partition, log_time_ms, name, encode(update))
        return update.seq

    def _append(self, topic: str, partition: int, log_time_ms: int, key: str, value: bytes) -> None:
        offset = self._next_offset[topic, partition]
        self._next_offset[topic, partition] = offset + 1
        self._answers.append(Record(topic, partition, offset, log_time_ms, key.encode(), value))

    def _load(self, records: list[Record]) -> None:
        self._queue, self._given, self._answers = records, 0, []
        for record in records:
            self._ends[record.topic, record.partition] = record.offset + 1


class ExecutingSink:
    """Sink: passes everything on and hands the forced trades to the exchange."""

    def __init__(self, sink: Sink, exchange: TinyExchange) -> None:
        self._sink = sink
        self._exchange = exchange

    def commit(
        self, outputs: Sequence[Output], offsets: Mapping[Partition, int], metadata: str, log_time_ms: int
    ) -> None:
        """Commits, then executes."""
        self._sink.commit(outputs, offsets, metadata, log_time_ms)
        messages = [decode_output(output.value) for output in outputs if output.topic == "forced-trades"]
        trades = [message for message in messages if isinstance(message, ForcedTrade)]
        if trades:  # one burst is handed out at a time, so they are of one decision
            self._exchange.execute(trades, log_time_ms)

    def committed(self) -> Committed | None:
        """As the sink behind."""
        return self._sink.committed()

    def outputs(self, topic: str) -> Iterator[Record]:
        """As the sink behind."""
        return self._sink.outputs(topic)

    def advise(self, outputs: Sequence[Output], log_time_ms: int = 0) -> None:
        """As the sink behind."""
        self._sink.advise(outputs, log_time_ms)

    def advised(self, topic: str) -> Iterator[Record]:
        """As the sink behind."""
        return self._sink.advised(topic)
