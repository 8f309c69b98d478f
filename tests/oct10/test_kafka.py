"""The October 2025 event through a real Kafka: filled beforehand, the recording's bytes; live, every takeover once."""

import time
from collections import Counter
from itertools import groupby, zip_longest
from pathlib import Path

import pytest

from schemas import AdlDecision, Bankruptcy, ForcedTrade, decode, decode_output
from tests.kafka.topics import Topics, Worker, committed, expected
from tests.oct10.data import CURRENCY, T0_MS
from tests.oct10.survivors import ACCOUNTS
from worker.edge.jsonlines import read_records
from worker.output import CUTS, DEAD_LETTERS, DECISIONS, TRADES
from worker.record import Record

pytestmark = pytest.mark.oct10  # skipped where its data is absent: tests/conftest.py
FLAGS = (f"pool.currency={CURRENCY}", "decision.policy=waterfill")  # `risk` takes minutes for all bursts
COMPLETE = {
    "message_timestamp_type": "CreateTime"
}  # with retention.ms=-1 of `Topics`: a log that stays as it was filled
SPEED = 20
BURSTS, TAKEOVERS = 100, 1294


@pytest.fixture(scope="module")
def records(base_recording: Path) -> list[Record]:
    """The whole recording: the opening book, all at one time, then marks and takeovers."""
    return [record for block in read_records(base_recording) for record in block]


def topics_for(broker, records):
    """Topics with the partitions of the recording."""
    return Topics(broker, {(record.topic, record.partition) for record in records}, **COMPLETE)


def test_topics_that_were_filled_beforehand_give_the_bytes_of_the_recording(broker, records, tmp_path):
    """Every decision and trade of the event, read by a plain client, is what the run on the recording says."""
    assert sum(record.topic == "positions" for record in records) == ACCOUNTS
    topics = topics_for(broker, records)
    topics.publish(records)
    settings = topics.settings(*FLAGS)
    with Worker(settings, tmp_path) as worker:
        wanted = expected(topics, records, settings)
        assert (len(wanted[DECISIONS]), wanted[DEAD_LETTERS]) == (BURSTS, [])
        # The last burst's cut rests on everything; the watch cut behind it comes once the log has been quiet.
        topics.wait_for(len(wanted[CUTS]), CUTS, 120, worker.alive)
        assert worker.stop() == 0, worker.words()
    said = topics.outputs()
    pairs = ((a, b) for topic in wanted for a, b in zip_longest(said[topic], wanted[topic]))
    assert next(((a, b) for a, b in pairs if a != b), None) is None  # the first difference: there are 388,000 records


def test_live_every_takeover_is_decided_once_and_every_decision_is_derived_again(broker, records, tmp_path):
    """A producer writes the event in its order at 20 times its pace, behind a book that was there at the start."""
    topics = topics_for(broker, records)
    book = [record for record in records if record.log_time_ms == T0_MS]
    event = records[len(book) :]
    assert [record.log_time_ms for record in records] == sorted(record.log_time_ms for record in records)
    topics.publish(book)
    with Worker(topics.settings(*FLAGS, "worker.start_at=end"), tmp_path) as worker:
        worker.wait_until("adl.ready", 120)
        publish_live(topics, event)
        topics.wait_until_read(60, worker.alive)
        assert worker.stop() == 0, worker.words()
        decisions = [decode_output(record.value) for record in committed(broker, topics.named(DECISIONS))]
        trades = [decode_output(record.value) for record in committed(broker, topics.named(TRADES))]
        assert committed(broker, topics.named(DEAD_LETTERS)) == []
        check_once(event, decisions, trades)
        code, words = worker.replayed("--from-offsets", "beginning", "--verify")
    assert code == 0, words
    assert "the same bytes" in words


def publish_live(topics: Topics, event: list[Record]) -> None:
    """Writes each burst when its time has come; its marks are there before its takeovers are sent."""
    begun = time.monotonic()
    for (log_time_ms, _), said in groupby(event, key=lambda record: (record.log_time_ms, record.topic)):
        passed_s = (log_time_ms - event[0].log_time_ms) / 1000 / SPEED
        time.sleep(max(0.0, begun + passed_s - time.monotonic()))
        topics.publish(said, **{"linger.ms": 0})


def check_once(event: list[Record], decisions: list[AdlDecision], trades: list[ForcedTrade]) -> None:
    """Each takeover stands in one decision, and all of it was taken from somebody."""
    asked = [message for record in event for message in decode(record.value or b"") if isinstance(message, Bankruptcy)]
    assert len(asked) == TAKEOVERS
    assert {decision.status for decision in decisions} == {"DECIDED"}
    decided = Counter(bankruptcy.id for decision in decisions for bankruptcy in decision.bankruptcies)
    assert decided == Counter(bankruptcy.id for bankruptcy in asked)
    lines = {(bankruptcy.account, bankruptcy.lines[0].symbol): bankruptcy.lines[0].quantity for bankruptcy in asked}
    liquidated = {
        (trade.account, trade.symbol): ("-" if trade.side == "BUY" else "") + trade.quantity
        for trade in trades
        if trade.role == "LIQUIDATED"
    }
    assert liquidated == lines
