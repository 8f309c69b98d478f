"""Three brokers that are controllers too, as Java processes; each can be killed and started again."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.broker import jars, settings
from tests.broker.broker import Broker, free_port
from tests.broker.choice import JAVA_MIN
from tests.broker.machine import java_version
from tests.broker.process import ProcessBroker

COPIES = {
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "min.insync.replicas": "2",
    "broker.session.timeout.ms": "3000",  # one that was killed is given up after this, and not after nine seconds
    "broker.heartbeat.interval.ms": "500",
    "replica.lag.time.max.ms": "3000",
}


class Node(ProcessBroker):
    """One of them."""

    def __init__(self, number, cluster_id, voters):
        super().__init__("one of three Java processes")
        self._cluster_id = cluster_id
        lines = dict(line.split("=", 1) for line in self._properties.read_text().splitlines())
        ours = lines["listeners"].rpartition("//")[2]
        lines["listeners"] = lines["listeners"].replace(ours, voters[number])
        # It knows its rules only once there is a controller, and until then lets nobody vote for one.
        del lines["authorizer.class.name"]
        lines |= COPIES | {"node.id": str(number)}
        lines["controller.quorum.voters"] = ",".join(f"{voter}@{place}" for voter, place in voters.items())
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def kill(self):
        """Ends it at once."""
        self._process.kill()
        self._process.wait()
        self._process = None


class ThreeBrokers(Broker):
    """A cluster of them; every topic has three copies, and two must have what is written."""

    ours, replicas = True, 3

    def __init__(self):
        if java_version() < JAVA_MIN or not jars.available():
            pytest.skip("three brokers need Java and Maven")
        cluster_id = settings.cluster_id()
        voters = {number: f"127.0.0.1:{free_port()}" for number in (1, 2, 3)}
        self.nodes = {number: Node(number, cluster_id, voters) for number in voters}
        super().__init__(",".join(node.bootstrap for node in self.nodes.values()), "three Java processes", cluster_id)

    def start(self):
        with ThreadPoolExecutor() as threads:
            list(threads.map(Node.start, self.nodes.values()))

    def stop(self):
        with ThreadPoolExecutor() as threads:
            list(threads.map(Node.stop, self.nodes.values()))

    def close(self):
        for node in self.nodes.values():
            node.close()

    def log(self):
        return "".join(node.log()[-4000:] for node in self.nodes.values())

    def leader(self, topic):
        """The number of the broker that leads its first partition; -1 where none does."""
        return self.admin().list_topics(topic, timeout=10).topics[topic].partitions[0].leader

    def whole(self):
        """Whether every copy has everything."""
        topics = self.admin().list_topics(timeout=10).topics.values()
        return all(len(partition.isrs) == self.replicas for topic in topics for partition in topic.partitions.values())
