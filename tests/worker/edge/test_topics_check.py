"""The rules for a pool's topics, without a broker: what is made is in order, and each thing that is not is named."""

import pytest

from worker.edge.acls import acls, command
from worker.edge.topics import deciding_topics, identity, settings_wanted, wanted_topics
from worker.edge.topics_check import FOREVER, LEVELS, Level, TopicFacts, TopicOdd, judge
from worker.settings import KINDS, load

WANTED = wanted_topics(load())
INPUTS = sorted(KINDS)
OUTPUTS = [
    "adl-cuts",
    "adl-decisions",
    "adl-ranks",
    "adl-state",
    "dead-letters",
    "forced-trades",
    "margin-reductions",
]
ADVISORY = ("adl-ranks", "adl-state")


def facts(*, filled=False, replicas=1, partitions=1, **of_all):
    return {
        topic: TopicFacts(partitions, replicas, settings_wanted(want, filled=filled) | of_all)
        for topic, want in WANTED.items()
    }


def changed(topic, facts_of_all=None, **settings):
    """Facts of topics in order, but for some settings of one."""
    found = facts_of_all or facts()
    given = {name.replace("_", "."): value for name, value in settings.items()}
    fact = found[topic]
    return found | {topic: TopicFacts(fact.partitions, fact.replicas, fact.settings | given)}


def found(*args, **kwargs):
    return [(finding.kind, finding.topic) for finding in judge(WANTED, *args, **kwargs)]


@pytest.mark.parametrize("filled", [False, True])
def test_what_create_makes_is_in_order(filled):
    """Live and filled, by the same table; and one is not the other."""
    assert found(facts(filled=filled), filled=filled) == []
    assert found(facts(filled=filled), filled=not filled) == [(TopicOdd.TIMESTAMPS, topic) for topic in INPUTS]


def test_every_topic_of_the_settings_is_wanted_once():
    """Also where one topic carries all kinds: then its whole history counts."""
    assert sorted(WANTED) == sorted([*INPUTS, *OUTPUTS])
    assert sorted(topic for topic, want in WANTED.items() if not want.history) == [
        "accounts", "adl-ranks", "adl-state", "instruments", "insurance-fund",
    ]  # fmt: skip
    one = wanted_topics(load(flags=[f"input.topics.{kind}=all" for kind in KINDS]))["all"]
    assert (one.carries, one.history) == (tuple(KINDS), True)
    two = wanted_topics(load(flags=["input.topics.accounts=static", "input.topics.instruments=static"]))["static"]
    assert (two.carries, two.history) == (("instruments", "accounts"), False)


def test_what_is_past_at_the_first_start_is_told_by_what_decisions_come_from():
    """Marks too where they make staged reductions: else each of the past would be asked for again."""
    assert deciding_topics(load()) == {"bankruptcies", "controls"}
    staged = load(flags=["reductions.tiers=1.1:1", "input.topics.mark-prices=m1,m2"])
    assert deciding_topics(staged) == {"bankruptcies", "controls", "m1", "m2"}


def test_every_kind_of_finding_has_a_level():
    """The list is closed."""
    assert set(LEVELS) == set(TopicOdd)


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_compaction_of_what_is_history_stops(policy):
    """Inputs and what was said; a table's newest records too, unless min.compaction.lag.ms says never."""
    stopped = []
    for topic in WANTED:
        kinds = dict(judge_of(changed(topic, cleanup_policy=policy)))
        if TopicOdd.COMPACTED in kinds:
            stopped.append(topic)
    assert LEVELS[TopicOdd.COMPACTED] == LEVELS[TopicOdd.COMPACTION_LAG] == Level.STOPS
    assert sorted(stopped) == sorted(topic for topic, want in WANTED.items() if want.history)
    for topic in ("accounts", "instruments", "insurance-fund"):
        assert found(changed(topic, cleanup_policy=policy)) == [(TopicOdd.COMPACTION_LAG, topic)]
        assert found(changed(topic, cleanup_policy=policy, min_compaction_lag_ms=FOREVER)) == []
        assert found(changed(topic, cleanup_policy=policy, min_compaction_lag_ms="86400000")) == [
            (TopicOdd.COMPACTION_LAG, topic)
        ]


def judge_of(facts_of_all):
    return [(finding.kind, finding.sentence) for finding in judge(WANTED, facts_of_all)]


@pytest.mark.parametrize("topic", sorted(WANTED))
def test_a_log_that_forgets_is_wrong(topic):
    """By time or by size, both named in one sentence with what to set; advisory topics may forget."""
    facts_of_all = changed(topic, retention_ms="604800000", retention_bytes="1000")
    if topic in ADVISORY:
        assert judge_of(facts_of_all) == []
        return
    sentence = (
        "with retention.ms=604800000 and retention.bytes=1000 its oldest records go, and the state is rebuilt from "
        "them: set retention.ms=-1 and retention.bytes=-1"
    )
    assert judge_of(facts_of_all) == [(TopicOdd.RETENTION, sentence)]


def test_the_worker_s_times_stay_and_the_broker_s_are_the_inputs():
    """Outputs bring the time of their cut, live inputs get theirs; where times are brought, old ones must be taken."""
    assert found(changed("adl-cuts", message_timestamp_type="LogAppendTime")) == [(TopicOdd.TIMESTAMPS, "adl-cuts")]
    assert found(changed("positions", message_timestamp_type="CreateTime")) == [(TopicOdd.TIMESTAMPS, "positions")]
    old = {"message_timestamp_before_max_ms": "3600000"}
    assert found(changed("positions", **old)) == []
    assert found(changed("positions", facts(filled=True), **old), filled=True) == [(TopicOdd.PAST_REFUSED, "positions")]
    assert found(changed("adl-decisions", **old)) == [(TopicOdd.PAST_REFUSED, "adl-decisions")]


def test_a_time_far_ahead_is_refused_where_records_bring_their_times():
    """The broker alone can tell a clock that is wrong from a log that went on; its own times need no such limit."""
    far, near = {"message_timestamp_after_max_ms": FOREVER}, {"message_timestamp_after_max_ms": "3600000"}
    filled = facts(filled=True)
    assert found(changed("positions", **far)) == []
    assert found(changed("positions", filled, **near), filled=True) == []
    assert found(changed("positions", filled, **far), filled=True) == [(TopicOdd.FUTURE_TAKEN, "positions")]
    assert found(changed("positions", message_timestamp_type="CreateTime", **far)) == [
        (TopicOdd.TIMESTAMPS, "positions"), (TopicOdd.FUTURE_TAKEN, "positions"),
    ]  # fmt: skip


@pytest.mark.parametrize("topic", OUTPUTS)
def test_an_output_takes_every_time_that_an_input_has(topic):
    """A cut stands behind its newest record, which the broker took from a clock ahead; an old broker has no limit."""
    assert found(changed(topic, message_timestamp_after_max_ms="3600000")) == [(TopicOdd.FUTURE_REFUSED, topic)]
    assert settings_wanted(WANTED[topic], filled=False)["message.timestamp.after.max.ms"] == FOREVER
    there = facts()
    del there[topic].settings["message.timestamp.after.max.ms"]
    assert found(there) == []


def test_replicas_are_asked_for_as_far_as_there_are_brokers():
    """One broker: one replica. Three: three, of which two must have a record."""
    assert found(facts(), brokers=1) == []
    assert {kind for kind, _ in found(facts(), brokers=3)} == {TopicOdd.REPLICAS}
    three = facts(replicas=3, **{"min.insync.replicas": "2"})
    assert found(three, brokers=3) == []
    assert found(three, brokers=9) == []
    assert {kind for kind, _ in found(facts(replicas=3, **{"min.insync.replicas": "1"}), brokers=3)} == {
        TopicOdd.REPLICAS
    }
    assert {kind for kind, _ in found(facts(**{"min.insync.replicas": "2"}), brokers=1)} == {TopicOdd.IN_SYNC}


def test_what_is_missing_hidden_or_too_small_is_named():
    """A topic that is not there and one that we are not shown both stop the worker."""
    there = facts()
    del there["bankruptcies"]
    there["positions"] = TopicFacts(1, 1, None)
    stops = [finding for finding in judge(WANTED, there) if finding.level == Level.STOPS]
    assert [(finding.kind, finding.topic) for finding in stops] == [
        (TopicOdd.MISSING, "bankruptcies"), (TopicOdd.UNKNOWN, "positions"),
    ]  # fmt: skip
    assert found(changed("adl-decisions", max_message_bytes="100000")) == [(TopicOdd.TOO_SMALL, "adl-decisions")]
    assert found(facts(partitions=4)) == [(TopicOdd.PARTITIONS, topic) for topic in OUTPUTS if topic not in ADVISORY]


def test_rules_of_access_are_the_least():
    """Whole lists, for the worker and for readers; a reader writes nothing and has no transactional id."""
    settings = load(flags=["pool.environment=prod", "pool.name=eu"])
    worker = {(acl.resource, acl.name): acl.operations for acl in acls(settings, read_only=False)}
    reader = {(acl.resource, acl.name): acl.operations for acl in acls(settings, read_only=True)}
    inputs = {("topic", topic): ("Read", "DescribeConfigs") for topic in INPUTS}
    said = {("topic", topic): ("Read", "Write", "DescribeConfigs") for topic in OUTPUTS}
    only_written = {("topic", topic): ("Write", "DescribeConfigs") for topic in ("adl-state", "dead-letters")}
    assert identity(settings) == "adl-prod-eu"
    assert worker == inputs | said | only_written | {
        ("group", "adl-reader"): ("Describe",), ("group", "adl-prod-eu"): ("Read",),
        ("transactional-id", "adl-prod-eu"): ("Write",),
    }  # fmt: skip
    assert reader == inputs | {("topic", topic): ("Read", "DescribeConfigs") for topic in OUTPUTS} | {
        ("group", "adl-reader"): ("Describe",), ("group", "adl-prod-eu"): ("Describe",),
    }  # fmt: skip


def test_a_rule_is_a_command_for_a_shell():
    """Names that a shell would take apart are quoted."""
    acl = acls(load(), read_only=False)[0]
    assert command(acl, "User:CN=adl worker", "k1:9092,k2:9092") == (
        "kafka-acls.sh --bootstrap-server k1:9092,k2:9092 --command-config admin.properties --add "
        "--allow-principal 'User:CN=adl worker' --operation Read --operation DescribeConfigs --topic accounts"
    )
