"""From a choice to a broker that answers."""

from tests.broker.broker import Broker, BrokerError
from tests.broker.choice import Choice, Machine
from tests.broker.machine import OFFICIAL


def start(choice: Choice, machine: Machine, port: int | None = None) -> Broker:
    """Starts the chosen broker on `port` (None: a free one); the caller closes it."""
    broker = _make(choice, machine, port)
    try:
        if broker.ours:
            broker.start()
        else:
            broker.wait_until_ready()
    except BaseException:
        broker.close()
        raise
    return broker


def _make(choice: Choice, machine: Machine, port: int | None) -> Broker:
    # Imported where they are used: a machine without Docker needs no testcontainers.
    if choice is Choice.NONE:
        raise BrokerError(choice.value)
    if choice is Choice.GIVEN:
        return Broker(machine.bootstrap, choice.value)
    if choice is Choice.PROCESS:
        from tests.broker.process import ProcessBroker

        return ProcessBroker(choice.value, port)
    from tests.broker.container import ContainerBroker

    if choice is Choice.OFFICIAL:
        return ContainerBroker(choice.value, OFFICIAL, port, reaper=True)
    from tests.broker.image import build

    return ContainerBroker(choice.value, build.ensure(), port, reaper=False)
