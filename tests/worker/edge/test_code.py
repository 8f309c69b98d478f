"""The code digest: which code decided, adapters included."""

import sys

from worker.edge.code import code_digest
from worker.settings import load


def test_the_digest_sees_an_adapters_source(tmp_path, monkeypatch):
    """Another adapter may give other messages, so decisions rest on it; one that is not set changes nothing."""
    monkeypatch.syspath_prepend(tmp_path)
    settings = load(flags=["format.topics.positions=my_adapter:f"])
    (tmp_path / "my_adapter.py").write_text("f = 1\n")
    first = code_digest(settings)
    (tmp_path / "my_adapter.py").write_text("f = 2\n")
    assert len({first, code_digest(settings), code_digest()}) == 3
    assert code_digest(load()) == code_digest()
    assert code_digest(load(flags=["format.topics.positions=msgpack"])) == code_digest()
    assert code_digest(load(flags=["format.topics.positions=no.module:f"])) != code_digest()
    assert code_digest(load(flags=["format.topics.positions=worker.adapters.binance:account_update"])) != code_digest()
    assert "my_adapter" not in sys.modules  # looked at, not run
