"""A running broker: where it is, what kind it is, stopping and starting it with its data and port, its topics.

This class is a broker that somebody else runs; those we start ourselves (container.py, process.py) override
`start`, `stop` and `close`.
"""

import random
import socket
import time
import uuid
from collections.abc import Mapping

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

READY_S_MAX = 90


class BrokerError(Exception):
    """The broker did not do what was asked of it; the message says which and why."""


class Broker:
    """A broker at `bootstrap` (host:port), of the named kind (a sentence for people)."""

    ours = False  # whether start, stop and restart can be used
    replicas = 1  # of a topic

    def __init__(self, bootstrap: str, kind: str, cluster_id: str | None = None) -> None:
        """cluster_id: which cluster must answer; None for any."""
        self.bootstrap = bootstrap
        self.kind = kind
        self._cluster_id = cluster_id

    def start(self) -> None:
        """Starts it, or starts it again on the data and the port it had; returns when it answers."""
        raise BrokerError(f"only a broker started here can be started or stopped, this is {self.kind}")

    def stop(self) -> None:
        """Stops it in an orderly way; data and port are kept for `start`."""
        raise BrokerError(f"only a broker started here can be started or stopped, this is {self.kind}")

    def restart(self) -> None:
        """Stops and starts it."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stops it for good and removes its data; one that is not ours is left alone."""

    def log(self) -> str:
        """What the broker has printed, empty where that cannot be had."""
        return ""

    def admin(self) -> AdminClient:
        """A new admin client."""
        return AdminClient({"bootstrap.servers": self.bootstrap})

    def unique(self, name: str = "test") -> str:
        """A name no other test uses, to start topics, groups and transactional ids with: `name-1f2e3d4c`."""
        return f"{name}-{uuid.uuid4().hex[:8]}"

    def create_topics(self, partitions: Mapping[str, int], **config: str | int) -> None:
        """Creates topics (name -> number of partitions) and returns when every partition can be written.

        config: topic settings with underscores for dots, such as message_timestamp_type="LogAppendTime".
        """
        admin = self.admin()
        settings = {name.replace("_", "."): str(value) for name, value in config.items()}
        new = [NewTopic(name, count, self.replicas, config=settings) for name, count in partitions.items()]
        for future in admin.create_topics(new).values():
            future.result(30)
        # A created topic reaches the broker's metadata a moment later; asked for its offsets before, it is unknown.
        until = time.monotonic() + 30
        while not all(_led(admin, name, count) for name, count in partitions.items()):
            if time.monotonic() > until:
                raise BrokerError(f"topics without leaders after 30 s: {sorted(partitions)}")
            time.sleep(0.02)

    def wait_until_ready(self, alive=lambda: True) -> None:
        """Returns when the broker answers as a member of its cluster; raises BrokerError when it died or is late."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
        until = time.monotonic() + READY_S_MAX
        while time.monotonic() < until and alive():
            try:
                found = admin.list_topics(timeout=1)
                # Another broker that was quicker to take the port must not be taken for this one.
                if found.brokers and self._cluster_id in (None, found.cluster_id):
                    return
            except KafkaException:
                pass
            time.sleep(0.05)
        raise BrokerError(f"no answer from {self.bootstrap} ({self.kind}):\n{self.log()[-4000:]}")


def _led(admin: AdminClient, topic: str, count: int) -> bool:
    found = admin.list_topics(topic, timeout=10).topics[topic].partitions
    return len(found) == count and all(partition.leader >= 0 for partition in found.values())


def free_port() -> int:
    """A free port of loopback, below those that the system hands out.

    A client that keeps connecting to a stopped broker's port can be given that very port for its own end, meet
    itself there and keep the broker from coming back; so the port must not be one of the system's.
    """
    for port in random.sample(range(20_000, 30_000), 100):
        if is_free(port):
            return port
    raise BrokerError("no free port between 20000 and 30000")


def is_free(port: int) -> bool:
    """Whether nobody listens on a port, on any address of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ends that linger do not count
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
