"""The broker that tests share, as a plugin of pytest: started by the first that asks for it, closed at the end."""

import os
from collections.abc import Iterator
from functools import cache

import pytest

from tests.broker.broker import Broker
from tests.broker.choice import Choice, Machine, choose
from tests.broker.machine import look
from tests.broker.start import start


def pytest_configure(config: pytest.Config) -> None:
    """Forgives Docker's client the Unix sockets that it leaves to the collector, above all where no daemon answers."""
    sockets = r"Exception ignored .*<socket\.socket fd=-?\d+, family=1,"
    config.addinivalue_line("filterwarnings", f"ignore:{sockets}:pytest.PytestUnraisableExceptionWarning")


@cache
def found() -> tuple[Choice, Machine]:
    """What this machine can have; asked once, and only by a run that has tests for it."""
    machine = look()
    return choose(machine), machine


def pytest_report_collectionfinish(items: list[pytest.Item]) -> str | None:
    """Which broker the collected tests will meet, or that there is none."""
    asking = [item for item in items if "broker" in getattr(item, "fixturenames", ())]
    return f"kafka ({len(asking)} tests): {found()[0].value}" if asking else None


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A real Apache Kafka; use `broker.unique` for every name, it is shared by all tests of the run."""
    choice, machine = found()
    if choice is Choice.NONE:
        if os.environ.get("ADL_REQUIRE_KAFKA") == "1":
            pytest.fail(choice.value)
        pytest.skip(choice.value)
    # Tests bound how long their workers may take, and with nothing cached each would compile for minutes.
    from worker.warm import warm

    warm()
    running = start(choice, machine)
    yield running
    running.close()
