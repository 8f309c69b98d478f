"""The random log and an undisturbed run on it, made once for all files that compare with them."""

import pytest

from tests.worker.random_run import SEED, outputs_of
from tests.worker.random_tape import random_log, random_settings


@pytest.fixture(scope="session")
def settings():
    """Of runs on the random log."""
    return random_settings()


@pytest.fixture(scope="session")
def records():
    """The random log."""
    return random_log(SEED)


@pytest.fixture(scope="session")
def undisturbed(records, settings, tmp_path_factory):
    """A folder of outputs, and the bytes in it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, outputs_of(records, settings, folder)
