"""Memory of a live run stays bounded although one partition is a minute of log time behind the others."""

import itertools
import json
import time

from confluent_kafka import Producer

from tests.kafka.topics import Topics, Worker

NOW_MS = 1_760_000_000_000
SPEED = 20  # log time against the clock
RECORDS_PER_SECOND = 4000
ACCOUNTS = 2000
WARM_SECONDS, SECONDS = 6, 14
LAG_MS = 60_000


def resident_kb(pid):
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123  no path of ours
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def test_memory_is_bounded_while_a_partition_lags(broker, tmp_path):
    """Below 1.2 x of what it is after warming up, with cuts going on."""
    topics = Topics(broker, [("positions", 1)])
    settings = topics.settings("pool.currency=USD", "pool.currency_decimals=2")
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5})
    symbols = [f"S{number}" for number in range(20)]

    def say(topic, partition, ms, key, **fields):
        value = json.dumps({"type": topic[0], **fields}).encode()
        producer.produce(topics.named(topic[1]), value, key.encode(), partition=partition, timestamp=ms)

    for symbol in symbols:
        say(
            ("Instrument", "instruments"), 0, NOW_MS, symbol, symbol=symbol, tick_size="1", lot_size="1",
            settlement_currency="USD", maintenance_margin_fraction="0.005",
        )  # fmt: skip
    sizes, seqs = [], itertools.count(1)
    with Worker(settings, tmp_path) as worker:
        worker.wait_until("adl.opened")
        begun, sent = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < SECONDS:
            now_ms = NOW_MS + int(passed * 1000 * SPEED)
            while sent < passed * RECORDS_PER_SECOND:
                sent += 1
                symbol, account = symbols[sent % 20], f"a{sent % ACCOUNTS}"
                if sent % 2:
                    say(("MarkPrice", "mark-prices"), 0, now_ms, symbol, symbol=symbol, mark_price="100",
                        event_time_ms=now_ms)  # fmt: skip
                else:
                    lags = sent % ACCOUNTS % 4 == 0  # an account has one partition
                    say(
                        ("AccountUpdate", "positions"), int(lags), now_ms - LAG_MS * lags, account, account=account,
                        epoch=1, seq=next(seqs), balances=[{"currency": "USD", "amount": str(sent)}],
                        positions=[{"symbol": symbol, "quantity": "2", "entry_price": "99"}],
                    )  # fmt: skip
            producer.poll(0)
            if passed > WARM_SECONDS:
                sizes.append(resident_kb(worker.process.pid))
            time.sleep(0.01)
        producer.flush(20)
        topics.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0
    assert max(sizes) < 1.2 * sizes[0], f"{sizes[0]} kB after {WARM_SECONDS} s, {max(sizes)} kB at most"
    assert topics.last_cut()["number"] > SECONDS * SPEED / 2
