"""What the network does to a worker: every connection lost at each call in turn, requests and answers that are lost,
commits that come late, a broker that is slow. Numbers are those of the design's catalogue of faults.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import msgspec
import pytest

from tests.kafka.killed import LATE_COMMITS_TRUSTED
from tests.kafka.proxy import Act, Api, Proxy
from tests.kafka.rules import Fault, InTurn, LateCommit, both, slow
from tests.kafka.test_run import FLAGS, killed
from tests.kafka.topics import Topics, Worker, expected
from tests.worker.random_tape import PARTITIONS, random_log
from worker.edge.exits import Exit
from worker.edge.kafka_cluster import Cluster
from worker.output import CHAINED, CUTS

pytestmark = pytest.mark.night

FURTHER_SECONDS = 15  # a worker gets further within this, or its watchdog has ended it
MARKERS_SECONDS = 0.2  # a transaction's markers are written behind the answer to its end
ALONE = "alone=1"  # a life without a point, cut by cut
OPENING = (  # in the order of their first requests
    Api.API_VERSIONS, Api.METADATA, Api.DESCRIBE_CONFIGS, Api.FIND_COORDINATOR,
    Api.INIT_PRODUCER_ID, Api.OFFSET_FETCH, Api.LIST_OFFSETS, Api.ADD_OFFSETS_TO_TXN, Api.TXN_OFFSET_COMMIT,
    Api.END_TXN, Api.FETCH, Api.ADD_PARTITIONS_TO_TXN, Api.PRODUCE,
)  # fmt: skip
WRITING = (Api.ADD_PARTITIONS_TO_TXN, Api.PRODUCE, Api.ADD_OFFSETS_TO_TXN, Api.TXN_OFFSET_COMMIT, Api.END_TXN)


@pytest.fixture(scope="module")
def records():
    return random_log(5, accounts=60, end_ms=60_000)


def through(proxy, topics, *flags):
    """Settings of a pool that reaches its topics through a proxy."""
    return topics.settings(*FLAGS, f"kafka.bootstrap={proxy.bootstrap}", *flags)


def wait_until(true, seconds, words):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, words()
        time.sleep(0.02)


def finished(topics, wanted, worker):
    """Stops a worker that has said everything; what it said is what an undisturbed run says."""
    topics.wait_for(len(wanted[CUTS]), alive=worker.alive)
    assert worker.stop() == 0, worker.words()
    assert topics.outputs() == wanted


def disturbed(broker, records, folder, faults):
    """A pool of its own whose worker meets the faults in turn while it decides, and gets over each in time."""
    topics, rule = Topics(broker, PARTITIONS), InTurn(faults)
    topics.publish(records)
    with Proxy(broker, rule) as proxy:
        settings = through(proxy, topics)
        wanted = expected(topics, records, settings)
        while True:  # once more where the watchdog has ended it
            with Worker(settings, folder, ALONE) as worker:
                if got_over(rule, worker):
                    finished(topics, wanted, worker)
                    return rule.took
                assert worker.wait() == Exit.HUNG, worker.words()


def got_over(rule, worker):
    """Returns when all faults have happened: whether the worker has survived them."""
    wait_until(
        lambda: rule.done() or not worker.alive() or rule.waiting_s() > FURTHER_SECONDS,
        100, lambda: f"these did not happen: {', '.join(map(str, rule.left))}",
    )  # fmt: skip
    assert rule.waiting_s() <= FURTHER_SECONDS, f"no further since {rule.fired()}: {worker.words()[-2000:]}"
    return worker.alive()


def side_by_side(broker, records, folder, *parts):
    """Each part of the faults on a pool of its own."""
    with ThreadPoolExecutor() as threads:
        taken = list(threads.map(disturbed, repeat(broker), repeat(records), repeat(folder), parts))
    return [took for part in taken for took in part]


def test_all_connections_are_reset_at_each_call_of_a_live_worker_in_turn(broker, records, tmp_path):
    """5, 2: at the request and at its answer, a new producer's calls too; bytes are those of an undisturbed run."""
    anew = [Api.INIT_PRODUCER_ID, Api.OFFSET_FETCH, Api.FIND_COORDINATOR, Api.METADATA, Api.API_VERSIONS]
    live = [fault for api in (Api.LIST_OFFSETS, Api.FETCH, *WRITING) for fault in both(api, Act.RESET)]
    # A commit whose connection is lost has the worker take a new producer, which asks these.
    begun = [f for api in anew for one in both(api, Act.RESET) for f in (Fault(Api.END_TXN, False, Act.RESET), one)]
    took = side_by_side(broker, records, tmp_path, live, begun)
    assert len(took) == len(live) + len(begun)
    assert max(seconds for _, seconds in took) < FURTHER_SECONDS


def test_all_connections_are_reset_at_each_call_of_an_opening_worker_in_turn(broker, records, tmp_path):
    """5, 1: each life loses them at another call, dies by SIGKILL behind its first commits, and the next goes on."""
    topics, faults = Topics(broker, PARTITIONS), [fault for api in OPENING for fault in both(api, Act.RESET)]
    topics.publish(records)
    rule = InTurn(faults, each_start=True)
    with Proxy(broker, rule) as proxy:
        settings = through(proxy, topics)
        wanted = expected(topics, records, settings)
        ends = killed(settings, tmp_path, ["commit is answered=2"] * len(faults))
        assert {code for _, code in ends} <= {str(int(Exit.HUNG))}
        assert rule.left == []
        with Worker(settings, tmp_path) as worker:
            finished(topics, wanted, worker)
        assert set(proxy.seen) & set(Api) <= set(OPENING)
    assert max(seconds for _, seconds in rule.took) < FURTHER_SECONDS


def test_a_request_that_is_lost_in_silence_and_an_answer_too(broker, records, tmp_path):
    """2, 5: nothing is reset, nobody is told; the call's own time runs out."""
    parts = [both(api, Act.HOLD) for api in (*WRITING, Api.LIST_OFFSETS)]
    again = [Fault(Api.END_TXN, False, Act.RESET), Fault(Api.INIT_PRODUCER_ID, False, Act.HOLD)]
    parts += [again, [again[0], Fault(Api.OFFSET_FETCH, False, Act.HOLD)]]
    took = side_by_side(broker, records[:900], tmp_path, *parts)
    assert max(seconds for _, seconds in took) < FURTHER_SECONDS


# --- a commit that comes late -----------------------------------------------------------------------------------------


def late_commits(broker, records, folder, count, life=ALONE):
    """Holds back so many commits one after the other, each until an output of the next transaction is there; how often
    the late one made that visible, what the broker answered to it, and whether the outputs are right in the end.
    """
    topics = Topics(broker, PARTITIONS)
    topics.publish(records)
    outputs = [(topics.named(topic), 0) for topic in CHAINED]
    cluster = Cluster({"bootstrap.servers": broker.bootstrap})
    torn, codes = 0, []
    with Proxy(broker) as proxy:
        settings = through(proxy, topics)
        wanted = expected(topics, records, settings)
        proxy.rule = rule = LateCommit()
        with Worker(settings, folder, life) as worker:
            for left in reversed(range(count)):
                assert rule.ready.wait(FURTHER_SECONDS), f"no next transaction: {worker.words()[-2000:]}"
                before = cluster.ends(outputs)
                codes.append(rule.release())
                time.sleep(MARKERS_SECONDS)
                torn += cluster.ends(outputs) != before
                if torn:
                    return torn, codes
                if not left:
                    proxy.rule = lambda _: Act.GO
                rule.go_on()
            finished(topics, wanted, worker)
    return torn, codes


def test_a_late_commit_tears_nothing_of_the_next_transaction(broker, records, tmp_path):
    """4: the client had asked again and was answered; a new producer has fenced what it had sent before."""
    torn, codes = late_commits(broker, records, tmp_path, 10)
    assert torn == 0
    assert 0 not in codes  # the broker refused each


def test_without_a_new_producer_a_late_commit_tears_the_next_transaction(broker, records, tmp_path):
    """4: the rule that doubts a commit whose connection was lost is switched off: else the test above says nothing."""
    assert late_commits(broker, records, tmp_path, 1, f"{LATE_COMMITS_TRUSTED}=1") == (1, [0])


# --- a slow broker ----------------------------------------------------------------------------------------------------


def test_a_slow_broker_and_a_full_queue_cost_no_record_and_no_memory(broker, records, tmp_path):
    """15: inputs wait at the broker while outputs are on their way, a few at a time."""
    marks = many_marks(records, 100_000)
    wanted, peaks = {}, []
    for seconds in (0, 0.1):
        topics = Topics(broker, PARTITIONS)
        topics.publish(marks)
        with Proxy(broker, slow(seconds)) as proxy:
            few = ["kafka.client.queue.buffering.max.messages=100"] if seconds else []
            settings = through(proxy, topics, *few)
            wanted = expected(topics, marks, settings)
            with Worker(settings, tmp_path) as worker:
                topics.wait_for(len(wanted[CUTS]), seconds=120, alive=worker.alive)
                peaks.append(peak_kb(worker.process.pid))
                finished(topics, wanted, worker)
    assert peaks[1] < 1.1 * peaks[0], f"{peaks[0]} kB with a quick broker, {peaks[1]} kB with a slow one"


def many_marks(records, count):
    """A log and behind it marks that say the same again, ten in each millisecond."""
    last = max(records, key=lambda record: record.log_time_ms).log_time_ms
    newest = max((r for r in records if is_mark(r)), key=lambda record: (record.log_time_ms, record.offset))
    offset = 1 + max(r.offset for r in records if (r.topic, r.partition) == (newest.topic, newest.partition))
    return records + [
        msgspec.structs.replace(newest, offset=offset + number, log_time_ms=last + 1 + number // 10)
        for number in range(count)
    ]


def is_mark(record):
    return record.topic == "mark-prices" and b'"MarkPrice"' in (record.value or b"")


def peak_kb(pid):
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123  no path of ours
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
