"""Settings of the broker, the same in a container and as a process: one node that is broker and controller.

One partition for each of Kafka's own topics and small heaps keep it quick on a small machine; nothing here changes
what a client sees of transactions, isolation or offsets.
"""

import base64
import os

JVM = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def cluster_id() -> str:
    """An id no other cluster has, as Kafka writes them: 16 bytes in url-safe base64; ours begin with YWRs."""
    return base64.urlsafe_b64encode(b"adl" + os.urandom(13)).decode().rstrip("=")


def properties(client: str, broker: str, controller: str, folder: str) -> dict[str, str]:
    """The lines of server.properties, but for the advertised listeners.

    client, broker, controller: host:port that clients, the broker itself and the controller listen on.
    folder: where the log lies.
    """
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"CLIENT://{client},BROKER://{broker},CONTROLLER://{controller}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": folder,
        "log.retention.ms": "-1",  # tests write records of the past
        "auto.create.topics.enable": "false",
        # Whatever no test has named in a rule stays open to everybody.
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
    }


def advertised(client: str, broker: str) -> str:
    """The advertised listeners: where clients, and the broker itself, find it."""
    return f"CLIENT://{client},BROKER://{broker}"
