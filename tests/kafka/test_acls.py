"""`adl topics acls`: with what it names, and nothing else, the worker and the readers run.

Whatever a rule names is closed to all that the rules do not let in; the tests' clients are User:ANONYMOUS.
"""

import json
import time

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests.kafka.test_record import FLAGS, Filled
from tests.kafka.topics import Worker
from tests.worker.random_tape import random_log
from worker.edge.exits import Exit
from worker.edge.topics import identity
from worker.output import CUTS

ME, OTHER = "User:ANONYMOUS", "User:nobody"
RESOURCES = {
    "topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "transactional-id": ResourceType.TRANSACTIONAL_ID,
}  # fmt: skip
KINDS = {kind: name for name, kind in RESOURCES.items()}
OPERATIONS = {
    "Read": AclOperation.READ, "Write": AclOperation.WRITE, "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}  # fmt: skip


@pytest.fixture(scope="module")
def records():
    return random_log(8, accounts=60, end_ms=8_000)


class Rules:
    """The rules of one principal; whatever they name is closed to all others until the end."""

    def __init__(self, broker, rules):
        self.admin, self.names, self.given = broker.admin(), set(), set()
        for rule in rules:
            self.names.add((rule["resource"], rule["name"]))
            self.given |= {(rule["resource"], rule["name"], operation) for operation in rule["operations"]}
        # One for somebody else stays, so that a resource without another rule is not open to everybody.
        self._put([binding(*name, "Describe", OTHER) for name in self.names])
        self._put([binding(*given, ME) for given in self.given])
        # The controller has them; the broker that must apply them hears of it a moment later.
        until = time.monotonic() + 20
        while self._known() < len(self.given):
            assert time.monotonic() < until, "the broker does not know the rules"
            time.sleep(0.05)

    def _known(self):
        mine = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.LITERAL, ME, None, AclOperation.ANY, AclPermissionType.ANY
        )
        found = self.admin.describe_acls(mine).result(10)
        return sum((KINDS[rule.restype], rule.name) in self.names for rule in found)

    def _put(self, bindings):
        for future in self.admin.create_acls(bindings).values():
            future.result(10)

    def close(self):
        for kind, name in self.names:
            everything = AclBindingFilter(
                RESOURCES[kind], name, ResourcePatternType.LITERAL, None, None, AclOperation.ANY, AclPermissionType.ANY
            )
            self._delete(everything)

    def _delete(self, wanted):
        for future in self.admin.delete_acls([wanted]).values():
            assert future.result(10)


def binding(kind, name, operation, principal):
    return AclBinding(
        RESOURCES[kind], name, ResourcePatternType.LITERAL, principal, "*", OPERATIONS[operation],
        AclPermissionType.ALLOW,
    )  # fmt: skip


@pytest.fixture
def ruled(broker):
    """Closes what rules name to everybody they do not let in; opens it again at the end."""
    made = []

    def make(topics, *arguments, but=None):
        code, words = topics.adl("topics", "acls", "--principal", ME, "--json", *arguments)
        assert code == 0, words
        assert json.loads(words)["principal"] == ME
        rules = json.loads(words)["allow"]
        if but is not None:
            resource, name, operations = but
            for rule in rules:
                if (rule["resource"], rule["name"]) == (resource, name):
                    rule["operations"] = operations
        made.append(Rules(broker, rules))
        return made[-1]

    yield make
    for rules in made:
        rules.close()


def ran(topics, folder):
    """Whether a worker reads everything and commits, and what it said."""
    with Worker(topics.settings(*FLAGS), folder) as worker:
        try:
            worker.wait_until("adl.opened")
            topics.wait_until_read(seconds=15, alive=worker.alive)
        except AssertionError as error:
            return False, f"{error}: {worker.words()}"
        return worker.stop() == 0, worker.words()


def test_the_worker_runs_with_its_rules(broker, records, ruled, tmp_path):
    """First start, decisions, and a restart that reads its own outputs back."""
    topics = Filled(broker, tmp_path, records)
    topics.publish(records)
    ruled(topics)
    for _ in range(2):
        done, words = ran(topics, tmp_path)
        assert done, words
    assert topics.last_cut() is not None


def test_readers_run_with_their_rules(broker, records, ruled, tmp_path):
    """Replay, check of topics and record, on a pool that has spoken."""
    topics = Filled(broker, tmp_path, records)
    topics.publish(records)
    done, words = ran(topics, tmp_path)
    assert done, words
    ruled(topics, "--read-only")
    for arguments in (
        ("replay", "--from-offsets", "beginning", "--verify"),
        ("topics", "check", "--filled"),
        ("record", tmp_path / "made.jsonl"),
    ):
        code, words = topics.adl(*arguments)
        assert code == 0, words


@pytest.mark.parametrize(
    ("resource", "operations", "says"),
    [
        ("topic", ["Describe", "DescribeConfigs"], "TOPIC_AUTHORIZATION_FAILED"),
        ("group", [], "GROUP_AUTHORIZATION_FAILED"),
    ],
)
def test_a_worker_that_may_not_read_says_so_and_waits_for_a_person(
    resource, operations, says, broker, records, ruled, tmp_path
):
    """An input, or what it has committed: no restart mends a right that is missing."""
    topics = Filled(broker, tmp_path, records)
    topics.publish(records)
    name = topics.named("mark-prices") if resource == "topic" else identity(topics.settings(*FLAGS))
    ruled(topics, but=(resource, name, operations))
    with Worker(topics.settings(*FLAGS), tmp_path) as worker:
        assert worker.wait(60) == Exit.USAGE, worker.words()
        assert says in worker.sentence()


def test_with_the_rules_of_readers_nothing_can_be_written(broker, records, ruled, tmp_path):
    """A worker that is given them ends at its first commit, and says why."""
    topics = Filled(broker, tmp_path, records)
    topics.publish(records)
    ruled(topics, "--read-only")
    with Worker(topics.settings(*FLAGS), tmp_path) as worker:
        assert worker.wait(30) == Exit.USAGE, worker.words()
        assert "GROUP_AUTHORIZATION_FAILED" in worker.words()
        assert "adl.commit_uncertain" not in worker.events()
    assert topics.outputs(CUTS) == {CUTS: []}
