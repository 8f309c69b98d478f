"""Latency on a live local broker: bankruptcy appended to decision and trades committed, on quiet topics."""

import json
import statistics
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from tests.kafka.topics import Topics, Worker
from worker.output import DECISIONS, TRADES
from worker.record import Record

DECISION_COUNT, LEGS_MAX, WARM = 1000, 50, 50
LARGE = (500, 5000) * 5
NOW_MS = 1_760_000_000_000


def book(accounts):
    """One symbol, its mark, and accounts with one lot each at different leverages."""
    said = [
        ("instruments", {"type": "Instrument", "symbol": "B", "tick_size": "1", "lot_size": "1",
                         "settlement_currency": "USD", "maintenance_margin_fraction": "0.005"}, "B"),
        ("mark-prices", {"type": "MarkPrice", "symbol": "B", "mark_price": "100", "event_time_ms": NOW_MS}, "B"),
    ]  # fmt: skip
    for number in range(accounts):
        name = f"t{number:06d}"
        update = {
            "type": "AccountUpdate", "account": name, "epoch": 1, "seq": 1, "full": True,
            "balances": [{"currency": "USD", "amount": str(50 + number % 997)}],
            "positions": [{"symbol": "B", "quantity": "-1", "entry_price": "110"}],
        }  # fmt: skip
        said.append(("positions", update, name))
    return [
        Record(topic, 0, place, NOW_MS, key.encode(), json.dumps(message).encode())
        for place, (topic, message, key) in enumerate(said)
    ]


def measured(broker, count=DECISION_COUNT, legs_max=LEGS_MAX, large=LARGE, warm=WARM):
    """Milliseconds from append to committed, of the small decisions and of the large ones by their legs."""
    sizes = [1 + number * 7 % legs_max for number in range(warm + count)] + list(large)
    topics = Topics(broker, [])
    settings = topics.settings(
        "pool.currency=USD", "pool.currency_decimals=2", "decision.policy=queue:pnl_leverage", "worker.start_at=end"
    )
    topics.publish(book(sum(sizes) + 10))
    outputs = Consumer(
        {
            "bootstrap.servers": broker.bootstrap, "group.id": "bench", "isolation.level": "read_committed",
            "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10, "enable.auto.commit": False,
        }
    )  # fmt: skip
    outputs.assign([TopicPartition(topics.named(topic), 0, 0) for topic in (DECISIONS, TRADES)])
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
    took = []
    with tempfile.TemporaryDirectory() as folder, Worker(settings, Path(folder)) as worker:
        topics.wait_until_read(120, worker.alive)
        for number, legs in enumerate(sizes):
            bankruptcy = {
                "type": "Bankruptcy", "id": f"b{number}", "account": f"x{number}", "event_time_ms": NOW_MS,
                "lines": [{"symbol": "B", "quantity": str(legs), "price": "100"}],
            }  # fmt: skip
            appended = []

            def on_delivery(*_, appended=appended):
                appended.append(time.perf_counter())

            producer.produce(
                topics.named("bankruptcies"), json.dumps(bankruptcy).encode(), b"x", partition=0,
                timestamp=NOW_MS + number, on_delivery=on_delivery,
            )  # fmt: skip
            while not appended:
                producer.poll(0.001)
            left = legs + 2  # and the liquidated leg, and the decision
            while left:
                message = outputs.poll(5)
                assert message is not None, worker.words()[-2000:]
                assert message.error() is None or message.error().code() == KafkaError._PARTITION_EOF
                left -= message.error() is None
            took.append((legs, (time.perf_counter() - appended[0]) * 1000))
            time.sleep(0.005)
        assert worker.stop() == 0
    outputs.close()
    return [ms for _, ms in took[warm : warm + count]], took[warm + count :]


def lines(broker, count=DECISION_COUNT):
    """What was measured, for people."""
    small, large = measured(broker, count)
    small.sort()
    yield f"bankruptcy appended to trades committed, quiet topics; {len(small)} decisions of 1 to {LEGS_MAX} legs"
    yield f"  median {statistics.median(small):.1f} ms, 99th percentile {small[int(len(small) * 0.99)]:.1f} ms"
    for legs in sorted({legs for legs, _ in large}):
        ms = statistics.median(ms for count, ms in large if count == legs)
        yield f"  {legs} legs: median {ms:.1f} ms (asked: 50 ms + 8 us a leg = {50 + 0.008 * legs:.0f} ms)"
