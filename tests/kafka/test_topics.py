"""`adl topics` on a cluster: what is missing is made, what is there stays, what does not hold is told."""

import json
import subprocess
import sys

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.kafka.topics import ROOT, adl
from worker.output import ADVISORY, CHAINED, STATE
from worker.settings import KINDS, load, to_toml


class Pool:
    """A pool whose topics have a name of their own and are not there yet."""

    def __init__(self, broker, folder):
        self.broker, self.prefix = broker, broker.unique("m")
        self.settings = load(
            flags=[
                *(f"input.topics.{kind}={self.named(kind)}" for kind in KINDS),
                *(f"output.{topic.replace('-', '_')}={self.named(topic)}" for topic in (*CHAINED, *ADVISORY)),
                f"pool.environment={self.prefix}",
                f"kafka.bootstrap={broker.bootstrap}",
            ]
        )
        self.file = folder / "pool.toml"
        self.file.write_text(to_toml(self.settings))

    def named(self, topic):
        return f"{self.prefix}.{topic}"

    def adl(self, *arguments):
        """Exit code and words of a command with the pool's settings."""
        return adl(*arguments, "--settings", self.file)

    def findings(self, *arguments):
        """(level, kind, topic without its prefix) of everything that `topics check` finds, and its exit code."""
        code, words = self.adl("topics", "check", "--json", *arguments)
        found = json.loads(words)["findings"]
        return code, [(f["level"], f["kind"], f["topic"].removeprefix(self.prefix + ".")) for f in found]

    def change(self, topic, **settings):
        changes = [
            ConfigEntry(name.replace("_", "."), str(value), incremental_operation=AlterConfigOpType.SET)
            for name, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, self.named(topic), incremental_configs=changes)
        admin = self.broker.admin()
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(10)


@pytest.fixture
def pool(broker, tmp_path):
    return Pool(broker, tmp_path)


def test_what_create_makes_is_what_check_wants(pool):
    """All is missing, is made, and is in order; a second time nothing is made, and nothing is changed."""
    code, found = pool.findings()
    assert code == 1
    assert found == [("STOPS", "MISSING", topic) for topic in (*sorted(KINDS), *sorted((*CHAINED, *ADVISORY)))]
    pool.broker.create_topics({pool.named("positions"): 2}, message_timestamp_type="LogAppendTime", retention_ms=-1)
    code, words = pool.adl("topics", "create", "--partitions", "positions=8,mark-prices=3")
    assert code == 0, words
    assert f"left {pool.named('positions')} as it is" in words
    assert f"made {pool.named('mark-prices')}: partitions 3, replicas 1, cleanup.policy=delete" in words
    facts = pool.broker.admin().list_topics(timeout=10).topics
    assert len(facts[pool.named("positions")].partitions) == 2
    assert len(facts[pool.named("mark-prices")].partitions) == 3
    assert pool.findings() == (0, [])
    code, words = pool.adl("topics", "create", "--json")
    assert (code, json.loads(words)["made"]) == (0, {})


def test_create_makes_everything_for_whoever_reads_one_line_of_it(pool):
    """`adl topics create | head`: what is said goes nowhere, what is made is there."""
    command = f"{sys.executable} -m worker.cli topics create --settings {pool.file} | head -n 1"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")
    assert pool.findings() == (0, [])


def test_check_tells_what_is_against_the_rules(pool):
    """Each change of a topic is one finding; what is only odd leaves the exit code alone."""
    assert pool.adl("topics", "create")[0] == 0
    pool.change(STATE, cleanup_policy="delete")
    assert pool.findings() == (0, [("ODD", "NOT_COMPACTED", "adl-state")])
    pool.change("positions", cleanup_policy="compact")
    pool.change("instruments", cleanup_policy="compact")
    pool.change("mark-prices", retention_ms=86_400_000)
    pool.change("bankruptcies", message_timestamp_type="CreateTime")
    pool.change("adl-cuts", message_timestamp_type="LogAppendTime")
    pool.change("adl-decisions", message_timestamp_before_max_ms=3_600_000)
    pool.change("forced-trades", message_timestamp_after_max_ms=3_600_000)
    code, found = pool.findings()
    assert code == 1
    assert found == [
        ("WRONG", "TIMESTAMPS", "bankruptcies"),
        ("STOPS", "COMPACTION_LAG", "instruments"),
        ("WRONG", "RETENTION", "mark-prices"),
        ("STOPS", "COMPACTED", "positions"),
        ("WRONG", "TIMESTAMPS", "adl-cuts"),
        ("WRONG", "PAST_REFUSED", "adl-decisions"),
        ("ODD", "NOT_COMPACTED", "adl-state"),
        ("WRONG", "FUTURE_REFUSED", "forced-trades"),
    ]
    _, words = pool.adl("topics", "check")
    assert f"STOPS {pool.named('positions')}: COMPACTED: cleanup.policy must be delete, not compact" in words
