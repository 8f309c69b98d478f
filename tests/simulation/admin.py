"""The client library's admin client as the worker calls it: topics, their settings, and where logs begin and end."""

from types import SimpleNamespace

from confluent_kafka import IsolationLevel, KafkaException
from confluent_kafka.admin import OffsetSpec

from tests.simulation.network import timed_out


class Answered:
    """A future whose answer is there; None where no broker was."""

    def __init__(self, answer):
        self._answer = answer

    def done(self):
        return True

    def result(self):
        if self._answer is None:
            raise KafkaException(timed_out())
        return self._answer


class AdminClient:
    """One client of a life."""

    def __init__(self, life, config, logger=None):  # noqa: ARG002  the library's
        self._life, self._network, self._broker = life, life.network, life.network.broker

    def poll(self, _timeout):
        return 0

    def list_topics(self, timeout):
        self._life.enter("list_topics")
        if self._network.happens("away"):
            self._network.clock.sleep(timeout)
            raise KafkaException(timed_out())
        topics = {
            name: SimpleNamespace(
                error=None, partitions={log.number: SimpleNamespace(leader=1, replicas=[1]) for log in logs}
            )
            for name, logs in self._broker.topics.items()
        }
        return SimpleNamespace(topics=topics, brokers={1: None})

    def describe_topics(self, topics, request_timeout):  # noqa: ARG002  the library's
        return self._answers(
            "describe_topics",
            topics.topic_names,
            lambda name: SimpleNamespace(topic_id=f"id-{name}", partitions=self._broker.topics[name]),
        )

    def describe_configs(self, resources, request_timeout):  # noqa: ARG002  the library's
        def settings(resource):
            values = self._broker.settings[resource.name]
            return {name: SimpleNamespace(value=value) for name, value in values.items()}

        return self._answers("describe_configs", resources, settings)

    def list_offsets(self, asked, isolation_level, request_timeout):  # noqa: ARG002  the library's
        stable = isolation_level == IsolationLevel.READ_COMMITTED

        def offset(place):
            end = self._broker.log(place.topic, place.partition).end(stable=stable)
            return SimpleNamespace(offset=0 if asked[place] is OffsetSpec.earliest() else end)

        return self._answers("list_offsets", asked, offset)

    def _answers(self, call, asked, answer):
        """Futures; where the broker is away, some have no answer."""
        self._life.enter(call)
        away = self._network.happens("away")
        answers = {
            item: Answered(None if away and self._network.rng.random() < 0.5 else answer(item)) for item in asked
        }
        self._life.leave(call)
        return answers
