"""Whatever hangs is a bug as well: after a while the process ends, saying where it stood; also inside a kernel."""

import faulthandler

import pytest

HANGS_AFTER_S = 600


@pytest.fixture(autouse=True)
def _ends():
    faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
