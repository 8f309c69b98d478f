"""What of the inputs' topics bears on their records, for `adl check`, before a record is read."""

from typing import Final

from worker.edge.kafka import PublishedTopics
from worker.edge.topics import wanted_topics
from worker.edge.topics_check import TopicOdd, judge
from worker.findings import Findings, Odd
from worker.settings import Settings

_LOSES: Final = (TopicOdd.UNKNOWN, TopicOdd.COMPACTED, TopicOdd.COMPACTION_LAG, TopicOdd.RETENTION)


def look_at_topics(published: PublishedTopics, settings: Settings) -> tuple[frozenset[str], Findings]:
    """Which inputs are compacted, and which will lose records or have lost some."""
    partitions, found = published.partitions, Findings()
    wanted = {topic: want for topic, want in wanted_topics(settings).items() if want.is_input}
    facts = published.cluster.facts(wanted)
    for finding in judge(wanted, facts):
        if finding.kind in _LOSES:
            found.add(Odd.TOPIC, finding.topic, finding.topic, finding.sentence)
    for (topic, number), begin in sorted(published.cluster.begins(partitions).items()):
        if begin:
            found.add(Odd.BEGIN_GONE, topic, f"{topic}:{number}@{begin}", f"its log begins at {begin:,}")
    policies = {topic: (fact.settings or {}).get("cleanup.policy", "") for topic, fact in facts.items()}
    return frozenset(topic for topic, policy in policies.items() if "compact" in policy), found
