"""`adl record` and `adl publish`: topics to a recording and back, nothing lost, added or moved."""

import itertools
import json
import time

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.kafka.topics import Topics, Worker, adl, committed, expected
from tests.worker.random_tape import PARTITIONS, random_log
from worker.demo.exchange import EPOCH_MS, RANK, Exchange
from worker.edge.exits import Exit
from worker.edge.jsonlines import read_records, write_records
from worker.edge.recording import committed_outputs
from worker.output import CHAINED
from worker.settings import to_toml

FLAGS = ("decision.accounts_max=12", "pool.currency=USD", "pool.currency_decimals=2")
WHERE = sorted(PARTITIONS)


@pytest.fixture(scope="module")
def records():
    return random_log(7, accounts=60, end_ms=20_000)


class Filled(Topics):
    """Topics with the files of a test: settings, and a recording of what shall be in them."""

    def __init__(self, broker, folder, records, partitions=PARTITIONS, **inputs):
        super().__init__(broker, partitions, **inputs)
        self.file, self.recording = folder / "pool.toml", folder / "given.jsonl"
        self.file.write_text(to_toml(self.settings(*FLAGS)))
        write_records(self.recording, self.placed(records))

    def adl(self, *arguments):
        return adl(*arguments, "--settings", self.file)

    def held(self):
        """All records of the inputs, as a plain client reads them."""
        return [record for topic in sorted(self.inputs) for record in committed(self.broker, topic)]

    def change(self, topic, **settings):
        changes = [
            ConfigEntry(name.replace("_", "."), str(value), incremental_operation=AlterConfigOpType.SET)
            for name, value in settings.items()
        ]
        admin = self.broker.admin()
        resource = ConfigResource(ResourceType.TOPIC, self.named(topic), incremental_configs=changes)
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(10)


def in_offset_order(records):
    return sorted(records, key=lambda record: (record.topic, record.partition, record.offset))


def read(path):
    return [record for block in read_records(path) for record in block]


def test_published_recorded_and_replayed_the_bytes_are_those_of_the_worker(broker, records, tmp_path):
    """A recording goes to topics and back as it was; replayed, it says what the worker said on the topics."""
    # One partition never gets a record, and is in no recording.
    topics = Filled(broker, tmp_path, records, [*PARTITIONS, ("positions", 6)])
    code, words = topics.adl("publish", topics.recording)
    assert code == 0, words
    assert in_offset_order(topics.held()) == in_offset_order(topics.placed(records))
    settings = topics.settings(*FLAGS)
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0, worker.words()
    paths = [tmp_path / name for name in ("made.jsonl", "again.jsonl", "packed.jsonl.zst")]
    for path in paths:
        code, words = topics.adl("record", path, "--json")
        assert (code, json.loads(words)["records"]) == (0, len(records))
    made = read(paths[0])
    assert in_offset_order(made) == in_offset_order(topics.placed(records))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert read(paths[2]) == made
    assert topics.adl("replay", paths[0], "--out", tmp_path / "out", "--json")[0] == 0
    said = {topics.named(topic): [] for topic in CHAINED}
    for record in committed_outputs(tmp_path / "out"):
        said[record.topic].append((record.key, record.value, record.log_time_ms))
    wanted = topics.outputs()
    assert said == {topics.named(topic): of_topic for topic, of_topic in wanted.items()}
    assert wanted == expected(topics, records, settings)


def test_a_range_is_what_lies_between_its_places(broker, records, tmp_path):
    """Times, offsets, single topics; times hold for the log time, which never goes back inside a partition."""
    topics = Filled(broker, tmp_path, records)
    topics.publish(records)
    newest_ms, timed = dict.fromkeys(PARTITIONS, 0), []
    for record in topics.placed(records):
        where = record.topic.removeprefix(topics.prefix + "."), record.partition
        newest_ms[where] = max(newest_ms[where], record.log_time_ms)
        timed.append((newest_ms[where], record))
    marks = topics.named("mark-prices")
    for number, (arguments, wanted) in enumerate([
        (("--from-time", 5000, "--to-time", 9000), [r for ms, r in timed if 5000 <= ms < 9000]),
        (("--from-time", 10**15), []),
        (("-t", marks, "--from-offsets", f"{marks}:0=3", "--to-offsets", f"{marks}:0=9"),
         [r for _, r in timed if r.topic == marks and (r.partition or 3 <= r.offset < 9)]),
        (("--from-offsets", f"{marks}:0=3", "--to-time", 9000),
         [r for ms, r in timed if ms < 9000 and (r.topic != marks or r.partition or r.offset >= 3)]),
    ]):  # fmt: skip
        path = tmp_path / f"{number}.jsonl"
        code, words = topics.adl("record", path, *arguments)
        assert code == 0, words
        found = read(path)
        assert in_offset_order(found) == in_offset_order(wanted)
        assert ("recorded from behind offset 0" in words) == any(
            record.offset == topics_first(found, record) and record.offset > 0 for record in found
        )


def topics_first(records, record):
    """The first offset of a record's partition among the records."""
    return min(r.offset for r in records if (r.topic, r.partition) == (record.topic, record.partition))


def test_only_committed_records_are_recorded_and_no_place_is_jumped_over(broker, records, tmp_path):
    """What was aborted is not there; an offset that the log does not have, or a file that is there, is refused."""
    topics = Filled(broker, tmp_path, records)
    marks = topics.named("mark-prices")
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": broker.unique("writer")})
    producer.init_transactions(20)
    for value, end in ((b"kept", producer.commit_transaction), (b"lost", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(marks, value, b"BTC", partition=0, timestamp=1000)
        producer.flush(10)
        end(10)
    path = tmp_path / "made.jsonl"
    assert topics.adl("record", path)[0] == 0
    assert [(record.offset, record.value) for record in read(path)] == [(0, b"kept")]
    for arguments, code, words in [
        ((path,), Exit.USAGE, "is there already"),
        ((tmp_path / "x.jsonl", "--to-offsets", f"{marks}:0=99"), Exit.STATE_LOST, "ends at 4, asked for was 99"),
        ((tmp_path / "x.jsonl", "--from-offsets", "nowhere:0=9"), Exit.USAGE, "not among the partitions"),
        ((tmp_path / "x.jsonl", "--from-offsets", "nonsense"), Exit.USAGE, "topic:partition=offset"),
        ((tmp_path / "x.jsonl", "-t", "nowhere"), Exit.USAGE, "must exist: nowhere"),
        ((tmp_path / "no" / "x.jsonl",), Exit.UNREADABLE, "cannot be written"),
    ]:
        found, said = topics.adl("record", *arguments)
        assert (found, words in said) == (code, True), said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given.jsonl", "made.jsonl", "pool.toml"]


def test_a_recording_that_would_not_be_the_topics_is_not_published(broker, records, tmp_path):
    """Gaps, a foreign topic, a partition that is not there, times that would not stay; nothing is written."""
    topics = Filled(broker, tmp_path, records)
    placed = topics.placed(records)
    marks = [record for record in placed if record.topic == topics.named("mark-prices")]
    foreign = [msgspec.structs.replace(record, topic=topics.named("adl-cuts")) for record in marks]
    for wrong, words in [
        (marks[:3] + marks[4:], "lacks 1 offsets"),
        (foreign, "which the settings do not name as inputs"),
        (
            [msgspec.structs.replace(record, partition=7) for record in marks if record.partition == 0],
            "mark-prices:7; make the topics",
        ),
        ([msgspec.structs.replace(marks[0], log_time_ms=0)], "must have a time above 0"),
    ]:
        path = tmp_path / "wrong.jsonl"
        write_records(path, wrong)
        code, said = topics.adl("publish", path)
        assert (code, words in said) == (Exit.USAGE, True), said
    topics.change("controls", retention_ms=3_600_000)
    topics.change("positions", message_timestamp_type="LogAppendTime")
    code, said = topics.adl("publish", topics.recording)
    assert code == Exit.USAGE
    assert "set retention.ms=-1" in said
    assert "set message.timestamp.type=CreateTime" in said
    assert topics.held() == []


def test_behind_other_records_only_when_asked(broker, records, tmp_path):
    """Offsets would not be the recording's; whoever says --append knows."""
    topics = Filled(broker, tmp_path, records)
    assert topics.adl("publish", topics.recording)[0] == 0
    code, said = topics.adl("publish", topics.recording)
    assert (code, "the inputs must be empty" in said) == (Exit.USAGE, True), said
    assert len(topics.held()) == len(records)
    assert topics.adl("publish", topics.recording, "--append")[0] == 0
    assert len(topics.held()) == 2 * len(records)


def test_a_record_that_the_broker_refuses_ends_it_with_its_reason(broker, records, tmp_path):
    """Not silently, and not with exit code 0."""
    topics = Filled(broker, tmp_path, records)
    topics.change("mark-prices", max_message_bytes=100)
    code, said = topics.adl("publish", topics.recording)
    assert (code, f"the first to {topics.named('mark-prices')}" in said) == (Exit.CLIENT, True), said
    assert "MSG_SIZE_TOO_LARGE" in said


def test_at_a_speed_the_order_of_time_holds_over_all_partitions(broker, records, tmp_path):
    """The broker's times grow as the recording's do, at the pace that was asked for, also from a file by partition."""
    topics = Filled(broker, tmp_path, in_offset_order(records), message_timestamp_type="LogAppendTime")
    begun_ms = time.time() * 1000
    code, words = topics.adl("publish", topics.recording, "--speed", "10", "--json")
    assert code == 0, words
    took_ms, facts = time.time() * 1000 - begun_ms, json.loads(words)
    newest_ms, log_ms = dict.fromkeys(PARTITIONS, 0), {}
    for record in records:
        where = record.topic, record.partition
        newest_ms[where] = max(newest_ms[where], record.log_time_ms)
        log_ms[topics.named(record.topic), record.partition, record.offset] = newest_ms[where]
    held = in_offset_order(topics.held())
    assert [(r.topic, r.partition, r.offset, r.key, r.value) for r in held] == [
        (r.topic, r.partition, r.offset, r.key, r.value) for r in in_offset_order(topics.placed(records))
    ]
    first_ms, last_ms = min(log_ms.values()), max(log_ms.values())
    assert took_ms >= (last_ms - first_ms) / 10
    pairs = sorted((log_ms[r.topic, r.partition, r.offset], r.log_time_ms) for r in held)
    # Ahead of its time nothing is sent; the broker's clock is this machine's.
    late = [at_ms - begun_ms - (ms - first_ms) / 10 for ms, at_ms in pairs]
    assert min(late) > -2
    by_time = {}
    for ms, at_ms in pairs:
        by_time.setdefault(ms, []).append(at_ms)
    times = sorted(by_time)
    torn = [ms for before, ms in itertools.pairwise(times) if min(by_time[ms]) < max(by_time[before])]
    # More than a second behind its pace it does not wait, and says how often.
    assert torn == [] or facts["times_not_waited_for"] > 0, (len(torn), facts)


def test_at_a_speed_records_of_one_time_arrive_in_the_order_of_their_kinds(broker, tmp_path):
    """Instruments, accounts, funds, marks and positions of a first moment, which only in that order are understood."""
    exchange = Exchange(1, accounts=5_000, symbols=20)
    records = [msgspec.structs.replace(record, log_time_ms=EPOCH_MS) for record in exchange.start()]
    topics = Filled(broker, tmp_path, records, exchange.offsets, message_timestamp_type="LogAppendTime")
    code, words = topics.adl("publish", topics.recording, "--speed", "1", "--json")
    assert (code, json.loads(words)["times_not_waited_for"]) == (0, 0), words
    arrived = {}
    for record in topics.held():
        arrived.setdefault(RANK[record.topic.removeprefix(f"{topics.prefix}.")], []).append(record.log_time_ms)
    assert {rank: len(times) for rank, times in arrived.items()} == {0: 20, 1: 175, 3: 2, 4: 20, 5: 5_000}
    for before, after in itertools.pairwise(sorted(arrived)):
        assert max(arrived[before]) <= min(arrived[after])
