"""8: what a broker may answer to each request of a transaction: gone on from, or the end that has its name.

The broker has done what it was asked, and the answer says it has not: all the more must be found out, not guessed.
"""

import pytest
from confluent_kafka import KafkaError

from tests.kafka.proxy import Act, Api, Proxy
from tests.kafka.rules import Fault, InTurn
from tests.kafka.test_network import FURTHER_SECONDS, finished, side_by_side, through
from tests.kafka.test_run import killed
from tests.kafka.topics import Topics, Worker, expected
from tests.worker.random_tape import PARTITIONS, random_log
from worker.edge.exits import Exit

pytestmark = pytest.mark.night

COORDINATOR = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)
FENCED = (KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)
GONE_ON = {
    Api.END_TXN: COORDINATOR,
    Api.INIT_PRODUCER_ID: (*COORDINATOR, KafkaError.CONCURRENT_TRANSACTIONS),
    Api.ADD_OFFSETS_TO_TXN: (*COORDINATOR, KafkaError.CONCURRENT_TRANSACTIONS),
    Api.ADD_PARTITIONS_TO_TXN: (*COORDINATOR, KafkaError.CONCURRENT_TRANSACTIONS, KafkaError.UNKNOWN_TOPIC_OR_PART),
    Api.TXN_OFFSET_COMMIT: (*COORDINATOR, KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID),
    Api.PRODUCE: (
        KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, KafkaError.REQUEST_TIMED_OUT, KafkaError.UNKNOWN_TOPIC_OR_PART,
    ),
}  # fmt: skip
ENDED = [
    *((api, code, Exit.FENCED) for api in GONE_ON for code in FENCED),
    (Api.END_TXN, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, Exit.USAGE),
    (Api.INIT_PRODUCER_ID, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, Exit.USAGE),
    (Api.ADD_OFFSETS_TO_TXN, KafkaError.GROUP_AUTHORIZATION_FAILED, Exit.USAGE),
    (Api.ADD_PARTITIONS_TO_TXN, KafkaError.TOPIC_AUTHORIZATION_FAILED, Exit.USAGE),
    (Api.TXN_OFFSET_COMMIT, KafkaError.OFFSET_METADATA_TOO_LARGE, Exit.USAGE),
    (Api.PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE, Exit.USAGE),
    (Api.PRODUCE, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, Exit.CLIENT),
    (Api.PRODUCE, KafkaError.TOPIC_AUTHORIZATION_FAILED, Exit.USAGE),
]


@pytest.fixture(scope="module")
def records():
    return random_log(5, accounts=60, end_ms=60_000)


def test_codes_that_can_be_gone_on_from_are(broker, records, tmp_path):
    """Retriable and abortable ones, each within 15 s, and the bytes are those of an undisturbed run."""
    parts = []
    for api, codes in GONE_ON.items():
        part = [Fault(api, True, code=code) for code in codes]
        if api == Api.INIT_PRODUCER_ID:  # asked again only where a commit is in doubt
            part = [fault for one in part for fault in (Fault(Api.END_TXN, False, Act.RESET), one)]
        parts.append(part)
    took = side_by_side(broker, records, tmp_path, *parts)
    assert max(seconds for _, seconds in took) < FURTHER_SECONDS


def test_codes_that_cannot_be_gone_on_from_end_the_process_with_its_code(broker, records, tmp_path):
    """Each life meets one; the next start finds out what was committed, and the bytes are the same in the end."""
    topics, faults = Topics(broker, PARTITIONS), [Fault(api, True, code=code) for api, code, _ in ENDED]
    topics.publish(records)
    rule = InTurn(faults, each_start=True)
    with Proxy(broker, rule) as proxy:
        settings = through(proxy, topics)
        wanted = expected(topics, records, settings)
        ends = killed(settings, tmp_path, ["commit is answered=40"] * len(faults))
        assert rule.left == []
        assert [int(code) for _, code in ends] == [code for _, _, code in ENDED]
        with Worker(settings, tmp_path) as worker:
            finished(topics, wanted, worker)
