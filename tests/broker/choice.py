"""Which broker a machine gets: a pure function of what the machine has, nearest to production first."""

from dataclasses import dataclass
from enum import Enum

JAVA_MIN = 17  # Kafka 4 refuses older ones


class Choice(Enum):
    """The closed list of brokers; the value is what a run prints of it."""

    GIVEN = "the broker named by ADL_TEST_BOOTSTRAP"
    OFFICIAL = "Apache Kafka's own image in a container"
    BUILT = "an image built here in a container, as images cannot be pulled"
    PROCESS = "a Java process, as there is no Docker"
    NONE = (
        "NO BROKER: tests against Kafka need Docker, or Java 17 and Maven, or a broker in ADL_TEST_BOOTSTRAP "
        "(ADL_REQUIRE_KAFKA=1 makes this a failure)"
    )


@dataclass(frozen=True)
class Machine:
    """What was found on a machine; `tests.broker.machine.look` fills it."""

    bootstrap: str | None = None  # of a broker somebody else runs
    docker: bool = False  # its daemon answers, and testcontainers is installed
    image_official: bool = False  # there already, or can be pulled
    image_built: bool = False  # there already, or in the cache, or everything to build it is there
    java: int = 0  # major version, 0 without
    jars: bool = False  # an unpacked Kafka (ADL_KAFKA_HOME), jars in the cache, or Maven to bring them


def choose(machine: Machine) -> Choice:
    """The first broker of the list that this machine can have."""
    if machine.bootstrap:
        return Choice.GIVEN
    if machine.docker and machine.image_official:
        return Choice.OFFICIAL
    if machine.docker and machine.image_built:
        return Choice.BUILT
    if machine.java >= JAVA_MIN and machine.jars:
        return Choice.PROCESS
    return Choice.NONE
