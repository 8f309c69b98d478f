"""Looking at topics: check, tail and explain say what they say of a recording, and leave no trace on the cluster."""

import json
import signal
import subprocess
import sys
import time

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from schemas import ForcedTrade, decode_output
from tests.kafka.topics import ROOT, Topics, Worker, committed
from tests.worker.random_tape import PARTITIONS, random_log
from tests.worker.test_cli import adl as command
from worker.check import check
from worker.edge.kafka import PublishedTopics
from worker.edge.kafka_check import look_at_topics
from worker.edge.recording import RecordingSource
from worker.edge.tail import line
from worker.explain import explain
from worker.findings import Odd
from worker.output import DEAD_LETTERS, DECISIONS, TRADES, read

FLAGS = ("decision.accounts_max=12", "pool.currency=USD", "pool.currency_decimals=2")


@pytest.fixture(scope="module")
def records():
    return random_log(5, accounts=60, end_ms=20_000)


@pytest.fixture(scope="module")
def decided(broker, records, tmp_path_factory):
    """Topics with inputs and what a worker said about them; the settings' file."""
    topics = Topics(broker, PARTITIONS)
    topics.publish(records)
    with Worker(topics.settings(*FLAGS), tmp_path_factory.mktemp("decided")) as worker:
        topics.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0, worker.words()
    return topics, worker.path


@pytest.fixture
def adl(capsys):
    """Runs a command with a file of settings: exit code, standard output, standard error."""
    return lambda path, *arguments: command(capsys, *arguments, "--settings", path, "--set", "log.level=error")


def groups(broker):
    admin = broker.admin()
    return {group.group_id for group in admin.list_consumer_groups().result().valid}


def test_check_says_of_topics_what_it_says_of_the_recording(adl, decided, records, broker):
    """Every count and finding; no group appears, and nothing is written."""
    topics, path = decided
    settings = topics.settings(*FLAGS)
    there, before = groups(broker), topics.ends()
    code, out, err = adl(path, "check", "--json")
    report = check(RecordingSource(topics.placed(records), partitions=topics.partitions()), settings)
    said = json.loads(out)
    assert (code, err) == (1, "")  # the log has its oddities
    for name in ("records", "partitions", "messages", "accounts", "removals", "symbols", "silent_topics"):
        assert said[name] == msgspec.to_builtins(getattr(report, name)), name
    assert sorted(_facts(f) for f in said["findings"]) == sorted(
        _facts(msgspec.to_builtins(f)) for f in report.findings
    )
    assert (groups(broker), topics.ends()) == (there, before)


def wait_for_lines(out, wanted):
    """Returns when a file has so many lines, or that line."""
    until = time.monotonic() + 20
    while not (wanted in (lines := out.read_text().splitlines()) or len(lines) == wanted):
        assert time.monotonic() < until, lines[-1:]
        time.sleep(0.1)


def _facts(finding):
    return finding["kind"], finding["subject"], finding["count"]


def test_what_retention_and_compaction_will_do_is_found(decided, broker):
    """A compacted history and a topic that forgets are wrong; a log that begins late is odd."""
    topics, _ = decided
    settings = topics.settings(*FLAGS)
    admin = broker.admin()
    changes = {
        "positions": {"cleanup.policy": "compact,delete"}, "accounts": {"retention.ms": "86400000"},
        "instruments": {"cleanup.policy": "compact", "retention.ms": "86400000"},
    }  # fmt: skip
    other = Topics(broker, PARTITIONS)
    for kind, values in changes.items():
        entries = [ConfigEntry(n, v, incremental_operation=AlterConfigOpType.SET) for n, v in values.items()]
        resource = ConfigResource(ResourceType.TOPIC, other.named(kind), incremental_configs=entries)
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(10)
    other.publish(random_log(5, accounts=60, end_ms=10_000))
    for future in admin.delete_records([TopicPartition(other.named("mark-prices"), 1, 7)]).values():
        future.result(10)
    settings = other.settings(*FLAGS)
    looked = PublishedTopics(settings, {"bootstrap.servers": broker.bootstrap})
    compacted, found = look_at_topics(looked, settings)
    assert compacted == {other.named("positions"), other.named("instruments")}
    report = check(looked.inputs(), settings, compacted=compacted, found=found)
    kinds = (Odd.TOPIC, Odd.BEGIN_GONE, Odd.DELTA_COMPACTED)
    assert [(f.kind, f.subject, f.wrong) for f in report.findings if f.kind in kinds] == [
        ("TOPIC", other.named("accounts"), True),
        ("TOPIC", other.named("instruments"), True),
        ("TOPIC", other.named("positions"), True),
        ("BEGIN_GONE", other.named("mark-prices"), False),
        ("DELTA_COMPACTED", other.named("positions"), True),
    ]


def test_an_open_transaction_keeps_nobody_from_looking(adl, decided, broker):
    """What is not committed is not waited for."""
    topics, path = decided
    other = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": broker.unique("other")})
    other.init_transactions(20)
    other.begin_transaction()
    for topic in ("mark-prices", TRADES):
        other.produce(topics.named(topic), b"{}", b"BTC", partition=0)
    other.flush(10)
    try:
        begun = time.monotonic()
        code, out, _ = adl(path, "tail", "-n", "1")
        assert (code, len(out.splitlines())) == (0, 1)
        assert json.loads(adl(path, "check", "--json")[1])["records"] > 500
        assert time.monotonic() - begun < 20
    finally:
        other.abort_transaction(10)


def test_tail_shows_what_was_said_in_its_order(adl, decided, broker):
    """All, and the last few; each decision before its trades."""
    topics, path = decided
    said = [r for topic in (DECISIONS, TRADES, DEAD_LETTERS) for r in committed(broker, topics.named(topic))]
    said.sort(key=lambda record: record.log_time_ms)
    wanted = [line(decode_output(record.value), record.log_time_ms) for record in said]
    assert adl(path, "tail", "-n", "0") == (0, "".join(f"{words}\n" for words in wanted), "")
    assert adl(path, "tail", "-n", "7")[1].splitlines() == wanted[-7:]


def test_tail_follows_until_it_is_interrupted(broker, records, tmp_path):
    """What is there, then what comes; Ctrl-C is its end."""
    topics = Topics(broker, PARTITIONS)
    topics.publish(records[: len(records) // 2])
    settings = topics.settings(*FLAGS)
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        follow = [sys.executable, "-m", "worker.cli", "tail", "--follow", "-n", "2", "--json"]
        out = tmp_path / "out"
        with out.open("w") as file:  # not a pipe, which holds only so much
            following = subprocess.Popen(
                [*follow, "--settings", str(worker.path)], cwd=ROOT, stdout=file, stderr=subprocess.PIPE, text=True,
                # A shell that starts the tests in the background has them, and all they start, ignore Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )  # fmt: skip
        wait_for_lines(out, 2)
        topics.publish(records[len(records) // 2 :])
        topics.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0
    last = committed(broker, topics.named(TRADES))[-1].value.decode()
    wait_for_lines(out, last)
    time.sleep(0.5)
    following.send_signal(signal.SIGINT)
    assert (following.communicate(timeout=10)[1], following.returncode) == ("", 0)
    shown = [json.loads(words) for words in out.read_text().splitlines()]
    decisions = [m["sequence"] for m in shown if m["type"] == "AdlDecision"]
    assert decisions == list(range(decisions[0], len(committed(broker, topics.named(DECISIONS))) + 1))
    trades = [m["sequence"] for m in shown if m["type"] == "ForcedTrade"]
    assert trades == list(range(trades[0], len(committed(broker, topics.named(TRADES))) + 1))


def test_explain_finds_a_trade_in_the_topics(adl, decided, broker):
    """By the beginning of its id; the words are those of a folder."""
    topics, path = decided
    said = [record for topic in (DECISIONS, TRADES) for record in committed(broker, topics.named(topic))]
    trade = read(said[-1].value, ForcedTrade)
    wanted = explain(trade.trade_id, said).sentences
    code, out, err = adl(path, "explain", trade.trade_id[:12])
    assert (code, " ".join(out.split()), err) == (0, " ".join(" ".join(wanted).split()), "")
    assert adl(path, "explain", "zzz") == (2, "", "adl: no decision or trade has the id 'zzz'\n")


def test_tail_says_loudly_what_somebody_else_wrote(adl, decided, broker):
    """Last of the tests on these topics: they are broken afterwards."""
    topics, path = decided
    last = committed(broker, topics.named(TRADES))[-1]
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    sequence = read(last.value, ForcedTrade).sequence
    later = last.value.replace(f'"sequence":{sequence},'.encode(), f'"sequence":{sequence + 3},'.encode())
    for value in (last.value, b"what?", later):
        producer.produce(topics.named(TRADES), value, last.key, partition=0)
    producer.flush(10)
    code, out, err = adl(path, "tail", "-n", "1")
    assert code == 1
    assert len(out.splitlines()) == 1
    again, foreign, missing, end = err.splitlines()
    assert again.startswith(f"BROKEN forced-trades: record {sequence} comes again")
    assert foreign.endswith("is no output of a worker")
    assert f"records {sequence + 1} to {sequence + 2} are missing" in missing
    assert end == "adl: sequence or chain is broken 3 times: this is not what the worker wrote"
