"""What all tests share: in CI a skipped test is a failed one, save where the data of 10 October is not there."""

import os
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from tests.oct10.data import data_dir

OCT10 = data_dir()
pytest_plugins = ("tests.broker.fixture",)

# Slow machines make single examples slow; derandomised in CI, so that green stays green for the same commit.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("ADL_CI") else "default")


@pytest.fixture(autouse=True)
def _logs_of_its_own():
    """A command that was called in a test binds the log to an output that ends with the test."""
    yield
    structlog.reset_defaults()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what is marked `oct10` where its data is absent."""
    if not OCT10.is_dir():
        for item in items:
            if item.get_closest_marker("oct10"):
                item.add_marker(pytest.mark.skip(reason="the data of 10 October 2025 is not beside the checkout"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Turns a skip into a failure in CI."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("ADL_CI") and not _excused(item):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped in CI: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """Turns a whole module's skip (importorskip) into an error in CI."""
    report = yield
    if report.outcome == "skipped" and os.environ.get("ADL_CI"):
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped in CI: {report.longrepr}"
    return report


def _excused(item: pytest.Item) -> bool:
    return item.get_closest_marker("oct10") is not None and not OCT10.is_dir()


@pytest.fixture(scope="session")
def oct10() -> Path:
    """The folder of the data of 10 October 2025; use with the mark `oct10`."""
    return OCT10
