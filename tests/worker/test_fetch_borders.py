"""Where a fetch ends, and what stood in it, never shows: shapes that once did, singly and as columns."""

import random

import pytest

from schemas import AccountUpdate, Balance, Control, Instrument, MarkPrice, Position, encode
from tests.worker.tape import settings_of
from tests.worker.test_batches import told
from worker import merge, reader
from worker.edge.recording import RecordingSource
from worker.record import Record

FILLERS = 20  # more than RUN_MIN


class Log:
    """Records of one partition a topic, unless told otherwise."""

    def __init__(self):
        self.records, self.ends, self.ms = [], {}, 1000
        for symbol, kind in (("BTC", "linear"), ("INV", "inverse")):
            self.say("instruments", symbol, Instrument(
                symbol=symbol, tick_size="0.01", lot_size="1", settlement_currency="USD",
                maintenance_margin_fraction="0.01", contract_type=kind,
            ))  # fmt: skip
        self.ms = 1001
        for symbol in ("BTC", "INV"):
            self.mark(symbol, "2")
        self.ms = 1002
        for account in ("a", "b"):
            self.update(account, 1, Position(symbol="BTC", quantity="1", entry_price="1"))
        self.ms = 1003

    def say(self, topic, key, message, partition=0):
        offset = self.ends[topic, partition] = self.ends.get((topic, partition), -1) + 1
        value = message if message is None or isinstance(message, bytes) else encode(message)
        key = None if key is None else key.encode()
        self.records.append(Record(topic, partition, offset, self.ms, key, value))

    def mark(self, symbol, price):
        self.say("mark-prices", symbol, MarkPrice(symbol=symbol, mark_price=price, event_time_ms=self.ms))

    def update(self, account, seq, *positions, plain=True, partition=0):
        value = encode(
            AccountUpdate(
                account=account, epoch=1, seq=seq, full=True, balances=[Balance(currency="USD", amount="5")],
                positions=list(positions),
            )
        )  # fmt: skip
        self.say("positions", account, value if plain else b" " + value, partition)

    def fill(self):
        for number in range(FILLERS):
            self.update(f"f{number}", len(self.records))


def null_before_an_update():
    log = Log()
    log.fill()
    log.say("positions", "a", None)
    log.say("positions", None, encode(AccountUpdate(account="b", epoch=1, seq=9, full=True))[:-1]
            + b',"balances":[{"currency":"USD","amount":"77"}],"positions":[{"symbol":"BTC","quantity":"3",'
            b'"entry_price":"1","isolated_margin":null}]}')  # fmt: skip
    log.fill()
    return log.records


def nulls_in_a_row():
    log = Log()
    log.fill()
    for _ in range(FILLERS):
        log.say("positions", None, None)
    log.say("positions", None, encode(AccountUpdate(account="b", epoch=1, seq=9, full=True)))
    return log.records


def null_before_a_mark():
    log = Log()
    log.fill()
    log.say("positions", "a", None)
    log.say(
        "positions", None,
        b'{"type":"MarkPrice","symbol":"BTC","mark_price":"7","event_time_ms":5,"index_price":null}',
    )  # fmt: skip
    log.fill()
    return log.records


def marks_that_waiting_accounts_refuse(good=()):
    """Accounts that are not plain wait to be opened; what they hold refuses the marks behind them."""
    log = Log()
    log.ms = 1010
    for number in range(FILLERS):
        position = Position(symbol="BTC", quantity="11258990000000", entry_price="1")
        log.update(f"n{number}", 1, position, plain=False)
    log.ms = 1012
    for _ in range(FILLERS):
        log.mark("BTC", "4")
    for price in good:
        log.mark("BTC", price)
    return log.records


def marks_that_are_refused_before_a_good_one():
    return marks_that_waiting_accounts_refuse(("2.5",))


def leg_remembered_of_an_account_without_a_row():
    """Its first update holds an inverse contract, which columns leave; its second is plain."""
    log = Log()
    closed = Position(symbol="BTC", quantity="0", adl_seq=5)
    log.update("x", 1, Position(symbol="INV", quantity="1", entry_price="2"), closed)
    log.update("x", 2, Position(symbol="BTC", quantity="1", entry_price="1"))
    log.fill()
    return log.records


def late_records_behind_a_control():
    log = Log()
    log.ms = 1500
    log.say("positions", "a", Control(id="c0", action="PAUSE", operator="o", reason="r"))
    log.ms = 1499
    for number in range(FILLERS):
        log.update(f"late{number}", 1)
    log.ms = 1500
    log.say("positions", "b", Control(id="c1", action="RESUME", operator="o", reason="r"), partition=1)
    return log.records


def late_records_of_all_kinds():
    """Two partitions in which time goes back, with updates and marks, some of an unknown symbol."""
    rng, log = random.Random(3), Log()
    for number in range(400):
        log.ms = 1500 + number // 4 - rng.choice([0, 0, 1, 5])
        partition = rng.randrange(2)
        if rng.random() < 0.3:
            log.say("positions", "BTC", MarkPrice(symbol="BTC", mark_price="2", event_time_ms=number), partition)
        else:
            symbol = rng.choice(["BTC", "BTC", "nobody's"])
            position = Position(symbol=symbol, quantity="1", entry_price="1")
            log.update(f"p{partition}-{rng.randrange(30)}", number + 1, position, partition=partition)
    return log.records


SHAPES = (
    null_before_an_update, nulls_in_a_row, null_before_a_mark, marks_that_waiting_accounts_refuse,
    marks_that_are_refused_before_a_good_one, leg_remembered_of_an_account_without_a_row,
    late_records_behind_a_control, late_records_of_all_kinds,
)  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_a_shape_is_the_same_singly_and_as_columns(shape, monkeypatch, tmp_path):
    """Outputs, state, counts and dead letters."""
    found = []
    for name, least, batch_max in (("singly", 1 << 60, None), ("all", 1, None), ("some", 1, 7), ("usual", 16, None)):
        monkeypatch.setattr(merge, "RUN_MIN", least)
        monkeypatch.setattr(reader, "RUN_MIN", least)
        source = RecordingSource(shape(), batch_max=batch_max)
        settings = settings_of("pool.currency=USD", "pool.currency_decimals=2")
        found.append(told(tmp_path / name, source, settings))
    assert found[1:] == found[:1] * 3
