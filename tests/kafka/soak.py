"""A soak: as many updates as go in, a bankruptcy every second, for minutes: `python -m tests.kafka.soak --minutes 10`.

An exchange answers every trade, so nothing has a reason to grow: memory after the first fifth of the time and at the
end are compared, and so are open files. What was decided is read back by the reader that an exchange would use.
"""

import argparse
import json
import os
import tempfile
import time
from itertools import count
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from schemas import OutputReader, decode_output
from tests.broker.choice import choose
from tests.broker.machine import look
from tests.broker.start import start
from tests.kafka.topics import Topics, Worker, committed
from worker.output import CHAINED, DECISIONS, TRADES

LOTS, GROWTH_MAX, WARM_SHARE = 20, 1.2, 0.2


class Exchange:
    """Shorts of one symbol at different leverages; its accounts are told again and again."""

    def __init__(self, topics, accounts):
        self.topics, self.seq, self.told, self.bankruptcies = topics, count(2), 0, 0
        self.producer = topics.producer(**{"compression.type": "lz4", "queue.buffering.max.kbytes": 65536})
        self.books = {f"t{number:06d}": [1_000_000, 0] for number in range(accounts)}  # lots, adl_seq
        self.texts = [self._texts(name) for name in self.books]
        self.places = {name: place for place, name in enumerate(self.books)}
        self.trades = Consumer(
            {"bootstrap.servers": topics.broker.bootstrap, "group.id": "soak", "isolation.level": "read_committed"}
        )
        self.trades.assign([TopicPartition(topics.named(TRADES), 0, 0)])

    def open(self):
        """Instrument, mark, and every account."""
        instrument = {"type": "Instrument", "symbol": "B", "tick_size": "1", "lot_size": "1",
                      "settlement_currency": "USD", "maintenance_margin_fraction": "0.005"}  # fmt: skip
        self.say("instruments", "B", json.dumps(instrument))
        self.mark()
        self.tell(len(self.books))

    def mark(self):
        now_ms = int(time.time() * 1000)
        price = 100 + now_ms % 7
        mark = {"type": "MarkPrice", "symbol": "B", "mark_price": str(price), "event_time_ms": now_ms}
        self.say("mark-prices", "B", json.dumps(mark))

    def go_bankrupt(self):
        """Somebody of whom nothing else is known."""
        self.bankruptcies += 1
        line = {"symbol": "B", "quantity": str(LOTS), "price": "100"}
        name, now_ms = f"x{self.bankruptcies}", int(time.time() * 1000)
        message = {"type": "Bankruptcy", "id": name, "account": name, "event_time_ms": now_ms, "lines": [line]}
        self.say("bankruptcies", name, json.dumps(message))

    def tell(self, updates):
        """The next accounts, once more."""
        names = list(self.books)
        for _ in range(updates):
            place = self.told % len(names)
            head, tail = self.texts[place]
            self.say("positions", names[place], f"{head}{next(self.seq)}{tail}")
            self.told += 1

    def execute(self):
        """Fills what was asked for, and tells of it."""
        for message in self.trades.consume(10_000, 0):
            if message.error():
                continue
            trade = decode_output(message.value())
            result = {"type": "ForcedTradeResult", "trade_id": trade.trade_id, "account": trade.account,
                      "status": "FILLED", "filled_quantity": trade.quantity}  # fmt: skip
            self.say("forced-trade-results", trade.account, json.dumps(result))
            book = self.books.get(trade.account)
            if book is None:
                update = {"type": "AccountUpdate", "account": trade.account, "epoch": 1, "seq": next(self.seq),
                          "adl_seq": trade.adl_seq, "full": True}  # fmt: skip
                self.say("positions", trade.account, json.dumps(update))
            else:
                book[:] = book[0] - int(trade.quantity), trade.adl_seq
                self.texts[self.places[trade.account]] = self._texts(trade.account)

    def _texts(self, name):
        """What stands before and behind the `seq` of an account's update."""
        lots, adl_seq = self.books[name]
        cash, adl = 2_000_000 + 977 * int(name[1:]) % 50_000_000, f'"adl_seq":{adl_seq}'
        return f'{{"type":"AccountUpdate","account":"{name}","epoch":1,"seq":', (
            f',{adl},"full":true,"balances":[{{"currency":"USD","amount":"{cash}"}}],"positions":[{{"symbol":"B",'
            f'"quantity":"{-lots}","entry_price":"110",{adl}}}]}}'
        )

    def say(self, topic, key, text):
        while True:
            try:
                self.producer.produce(self.topics.named(topic), text.encode(), key.encode())
                return
            except BufferError:
                self.producer.poll(0.05)


def use_of(process):
    """Resident megabytes and open files of a process."""
    folder = Path("/proc") / str(process)
    kilobytes = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(kilobytes.split()[1]) / 1024, len(os.listdir(folder / "fd"))  # noqa: PTH208  one look


def soak(broker, folder, minutes, accounts, rate, growth_max=GROWTH_MAX, say=print):
    """Runs it; what was measured, or an assertion that says what grew or was lost."""
    topics = Topics(broker, [])
    settings = topics.settings(
        "pool.currency=USD",
        "pool.currency_decimals=2",
        "decision.policy=waterfill",
        f"snapshot.folder={folder}/kept",
        "ranks.records_per_second=100",
    )
    exchange = Exchange(topics, accounts)
    exchange.open()
    exchange.producer.flush(60)
    with Worker(settings, folder) as worker:
        worker.wait_until("adl.ready", 300)
        begun, uses, next_second, opened, sent = time.monotonic(), [], 1, exchange.told, 0
        while (seconds := time.monotonic() - begun) < 60 * minutes:
            exchange.tell(min(1000, int(rate * seconds) - sent))
            sent = exchange.told - opened
            exchange.execute()
            if seconds >= next_second:
                next_second += 1
                exchange.mark()
                exchange.go_bankrupt()
                uses.append(use_of(worker.process.pid))
                assert worker.alive(), worker.words()[-2000:]
                if next_second % 30 == 0:
                    say(f"{seconds:5.0f} s  {exchange.told:,} updates  {uses[-1][0]:,.0f} MB  {uses[-1][1]} files")
        exchange.producer.flush(60)
        topics.wait_until_read(120, worker.alive)
        assert worker.stop() == 0, worker.words()[-2000:]
    warm = max(1, int(WARM_SHARE * len(uses)))
    (memory, files), (memory_then, files_then) = map(max, zip(*uses[warm:], strict=True)), uses[warm]
    said = decided(broker, topics)
    say(
        f"{exchange.told:,} updates in {60 * minutes:.0f} s; {said[DECISIONS]:,} decisions, {said[TRADES]:,} trades; "
        f"memory {memory_then:,.0f} MB after {warm} s, at most {memory:,.0f} behind it, {memory / memory_then:.2f} x; "
        f"files {files_then}, at most {files}"
    )
    assert said[DECISIONS] == exchange.bankruptcies, (said, exchange.bankruptcies)
    assert memory < growth_max * memory_then
    assert files <= files_then + 5
    return exchange.told


def decided(broker, topics):
    """How many records of each chained topic there are, each proved to follow the one before."""
    found = {}
    for topic in CHAINED:
        reader = OutputReader("main", topic)
        messages = [one for record in committed(broker, topics.named(topic)) for one in reader.read(record.value)]
        reader.end()
        found[topic] = len(messages)
        if topic == DECISIONS:
            assert {message.status for message in messages} == {"DECIDED"}
    return found


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.kafka.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=200_000, help="updates a second, as far as the machine can")
    given = parser.parse_args()
    found = look()
    broker = start(choose(found), found)
    try:
        with tempfile.TemporaryDirectory() as folder:
            soak(broker, Path(folder), given.minutes, given.accounts, given.rate)
    finally:
        broker.close()


if __name__ == "__main__":
    main()
