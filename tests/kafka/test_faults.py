"""What goes wrong around the worker, and what it then does: catalogue numbers are those of the design's faults."""

import subprocess
import sys
import time

import pytest
from confluent_kafka import KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.kafka.killed import UNCERTAIN
from tests.kafka.topics import ROOT, Topics, Worker, committed, expected
from tests.worker.random_tape import PARTITIONS, random_log
from worker.edge.exits import Exit
from worker.edge.kafka import identity
from worker.output import CUTS, DECISIONS

FLAGS = ("decision.accounts_max=12", "pool.currency=USD", "pool.currency_decimals=2")


@pytest.fixture(scope="module")
def records():
    return random_log(5, accounts=60, end_ms=20_000)


@pytest.fixture
def topics(broker, records):
    topics = Topics(broker, PARTITIONS)
    topics.publish(records)
    return topics


def finished(topics, settings, folder):
    """Runs a worker until everything is read, and stops it."""
    with Worker(settings, folder) as worker:
        topics.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0, worker.words()
        return worker


def refused(settings, folder):
    """Exit code and last line of a worker that must not start."""
    with Worker(settings, folder) as worker:
        code = worker.wait()
        return code, worker.sentence()


@pytest.mark.parametrize("how", UNCERTAIN)
def test_an_uncertain_commit_is_found_out_about_and_not_guessed(how, topics, records, tmp_path):
    """2, 4, 5: request or answer lost, answer late, call left behind: a new producer, and the commit says it."""
    settings = topics.settings(*FLAGS)
    wanted = expected(topics, records, settings)
    with Worker(settings, tmp_path, f"{how}=3") as worker:
        topics.wait_for(len(wanted[CUTS]), alive=worker.alive)
        assert worker.stop() == 0, worker.words()
        assert worker.events().count("adl.commit_uncertain") == 1
    assert topics.outputs() == wanted


def test_a_second_process_fences_the_first(topics, records, tmp_path):
    """6: the older one ends with its code and writes nothing more; the newer one goes on."""
    settings = topics.settings(*FLAGS)
    wanted = expected(topics, records, settings)
    with Worker(settings, tmp_path) as older:
        topics.wait_for(len(wanted[CUTS]), alive=older.alive)
        with Worker(settings, tmp_path) as newer:
            newer.wait_until("adl.opened")
            assert older.wait(20) == Exit.FENCED
            assert "another process writes for this pool" in older.sentence()
            time.sleep(1.5)
            assert newer.stop() == 0
    assert topics.outputs() == wanted


def test_a_broker_that_restarts_is_survived_without_a_restart(topics, broker, records, tmp_path):
    """9: calls wait for it; nothing is lost or doubled."""
    if not broker.ours:
        pytest.skip(f"cannot restart {broker.kind}")
    settings = topics.settings(*FLAGS)
    half = Topics(broker, PARTITIONS)
    settings = half.settings(*FLAGS)
    half.publish(records[: len(records) // 2])
    with Worker(settings, tmp_path) as worker:
        half.wait_until_read(alive=worker.alive)
        broker.restart()
        half.publish(records[len(records) // 2 :])
        half.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0, worker.words()
        code, words = worker.replayed("--from-offsets", "beginning", "--verify")
        assert code == 0, words


def test_a_stop_while_the_broker_is_away_takes_less_than_ten_seconds(topics, broker, tmp_path):
    """16: what is not committed is derived again."""
    if not broker.ours:
        pytest.skip(f"cannot stop {broker.kind}")
    with Worker(topics.settings(*FLAGS), tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        broker.stop()
        try:
            time.sleep(2)
            assert worker.stop() == 0, worker.words()
        finally:
            broker.start()


def test_outputs_that_the_broker_does_not_take_end_it(topics, broker, tmp_path):
    """8: after at most one more try, as the same bytes would be refused again; our last line names topic and limit."""
    limit = ConfigEntry("max.message.bytes", "300", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topics.named(DECISIONS), incremental_configs=[limit])
    admin = broker.admin()
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(10)
    with Worker(topics.settings(*FLAGS), tmp_path) as worker:
        assert worker.wait() == Exit.USAGE, worker.words()
        last = worker.sentence()
        assert "MSG_SIZE_TOO_LARGE" in last
        assert topics.named(DECISIONS) in last
        assert worker.events().count("adl.commit_uncertain") <= 1
    assert topics.outputs(DECISIONS) == {DECISIONS: []}


def test_records_that_left_retention_are_not_jumped_over(topics, broker, tmp_path):
    """10: the state rests on them."""
    settings = topics.settings(*FLAGS)
    finished(topics, settings, tmp_path)
    topic = topics.named("mark-prices")
    admin = broker.admin()  # its answers go with it
    for future in admin.delete_records([TopicPartition(topic, 0, 7)]).values():
        future.result(10)
    code, words = refused(settings, tmp_path)
    assert code == Exit.STATE_LOST
    assert f"{topic}:0 begins at 7, the pool's state rests on it from 0" in words


def test_a_topic_that_was_made_anew_is_not_taken_for_the_old_one(topics, broker, records, tmp_path):
    """10: also when it holds as many records again."""
    settings = topics.settings(*FLAGS)
    finished(topics, settings, tmp_path)
    topic = topics.named("mark-prices")
    admin = broker.admin()
    for future in admin.delete_topics([topic]).values():
        future.result(10)
    time.sleep(1)
    broker.create_topics({topic: topics.inputs[topic]}, retention_ms=-1)
    topics.publish([record for record in records if record.topic == "mark-prices"])
    code, words = refused(settings, tmp_path)
    assert code == Exit.STATE_LOST
    assert f"{topic} was deleted and made anew" in words


def test_offsets_that_are_gone_do_not_make_the_pool_begin_anew(topics, broker, tmp_path):
    """10: it has spoken; whoever deletes its offsets must say what it shall do."""
    settings = topics.settings(*FLAGS)
    finished(topics, settings, tmp_path)
    said = topics.outputs()
    admin = broker.admin()
    for future in admin.delete_consumer_groups([identity(settings)]).values():
        future.result(10)
    code, words = refused(settings, tmp_path)
    assert code == Exit.STATE_LOST
    assert "no offsets are committed" in words
    assert topics.outputs() == said


def test_a_compacted_history_is_refused(topics, broker, tmp_path):
    """Compaction removes what a replay needs, an instrument's older word too: a position's scale goes by it."""
    policy = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    admin = broker.admin()
    for kind in ("positions", "instruments"):
        resource = ConfigResource(ResourceType.TOPIC, topics.named(kind), incremental_configs=[policy])
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(10)
    code, words = refused(topics.settings(*FLAGS), tmp_path)
    assert code == Exit.USAGE
    assert f"topic {topics.named('instruments')}: a record that goes because a newer one is there is missing" in words
    assert words.endswith(f"cleanup.policy must be delete, not compact, of {topics.named('positions')}")


def test_a_topic_that_is_missing_is_named(topics, tmp_path):
    """Before anything is taken over."""
    settings = topics.settings(*FLAGS, "output.adl_cuts=nowhere")
    assert refused(settings, tmp_path) == (Exit.USAGE, "adl: these topics must exist: nowhere")


def test_an_open_transaction_in_an_input_is_waited_for_at_the_start_and_reported(topics, broker, records, tmp_path):
    """12: what it will hold is not known, and a recovery must not miss what was decided upon."""
    settings = topics.settings(*FLAGS)
    other = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": broker.unique("other")})
    other.init_transactions(20)
    other.begin_transaction()
    mark = max((record for record in records if record.topic == "mark-prices"), key=lambda record: record.offset)
    other.produce(topics.named("mark-prices"), mark.value, mark.key, partition=mark.partition, timestamp=70_000)
    other.flush(10)
    with Worker(settings, tmp_path) as worker:
        worker.wait_until("adl.waiting")
        assert f"{topics.named('mark-prices')}:{mark.partition}" in worker.words()
        other.commit_transaction(10)
        topics.wait_for(1, alive=worker.alive)
        topics.wait_until_committed({f"{topics.named('mark-prices')}:{mark.partition}": mark.offset + 2})
        assert worker.stop() == 0


def test_an_open_transaction_holds_no_live_bankruptcy(topics, broker, tmp_path):
    """12: its records count as late."""
    settings = topics.settings(*FLAGS)
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        before = len(committed(broker, topics.named(DECISIONS)))
        other = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": broker.unique("other")})
        other.init_transactions(20)
        other.begin_transaction()
        other.produce(topics.named("mark-prices"), b"{}", b"BTC", partition=0, timestamp=90_000)
        other.flush(10)
        bankruptcy = b'{"type":"Bankruptcy","id":"while-open","account":"nobody","event_time_ms":90000}'
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        producer.produce(topics.named("bankruptcies"), bankruptcy, b"nobody", partition=0, timestamp=90_001)
        producer.flush(10)
        topics.wait_for(before + 1, DECISIONS, seconds=5, alive=worker.alive)
        other.commit_transaction(10)
        assert worker.stop() == 0


def test_a_clock_far_ahead_is_told_and_beyond_an_hour_refused_by_the_broker(topics, broker, tmp_path):
    """18: where records bring their times; everything else is decided as before."""
    settings = topics.settings(*FLAGS)
    topic, refused = topics.named("mark-prices"), []
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    now_ms = int(time.time() * 1000)
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        before = len(committed(broker, topics.named(DECISIONS)))
        producer.produce(topic, b"{}", b"BTC", partition=0, timestamp=now_ms + 7_200_000,
                         on_delivery=lambda error, _: refused.append(error.code()))  # fmt: skip
        producer.flush(10)  # the broker refuses a whole batch
        producer.produce(topic, b"{}", b"BTC", partition=0, timestamp=now_ms + 1_800_000)
        producer.flush(10)
        worker.wait_until("adl.clock_ahead", seconds=10)
        assert f"{topic}:0" in worker.words()
        for number in range(3):
            bankruptcy = b'{"type":"Bankruptcy","id":"after-%d","account":"nobody","event_time_ms":90000}' % number
            producer.produce(topics.named("bankruptcies"), bankruptcy, b"nobody", partition=0, timestamp=90_001)
            producer.flush(10)
            topics.wait_for(before + 1 + number, DECISIONS, seconds=10, alive=worker.alive)
        topics.wait_until_read(alive=worker.alive)
        assert worker.events().count("adl.clock_ahead") == 1
        assert worker.stop() == 0
        code, words = worker.replayed("--from-offsets", "beginning", "--verify")
        assert code == 0, words
    assert refused == [KafkaError.INVALID_TIMESTAMP]


def test_the_watchdog_ends_a_call_that_does_not_come_back():
    """5: with its own code, and the name of the call; a call that does come back is left alone."""
    program = (
        "import time\nfrom worker.edge.watchdog import Watchdog\ndog = Watchdog()\n"
        "with dog.within(0.5, 'quick'):\n    pass\ntime.sleep(0.8)\n"
        "with dog.within(0.5, 'commit_transaction'):\n    time.sleep(20)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        Exit.HUNG, "adl: commit_transaction did not come back from the Kafka client\n",
    )  # fmt: skip
