"""Probes over real sockets: what live and ready mean, and that a bad client harms nobody."""

import json
import socket
import struct
import time
from http.client import HTTPConnection

import pytest

from tests.worker.tape import Tape, settings_of
from worker.edge import health as module
from worker.edge.health import Health, HealthServer
from worker.edge.recording import RecordingSource
from worker.figures import Figures
from worker.loop import run
from worker.memory import MemorySink
from worker.settings import SettingError, load

SETTINGS = load(flags=["health.lag_ms_max=1000", "health.stall_ms_max=5000"]).health


class Clock:
    seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    return Health(SETTINGS, clock)


@pytest.fixture
def server(health):
    with HealthServer(health, SETTINGS, {"version": "1", "code_digest": "c"}) as server:
        yield server


def ask(server, path, method="GET"):
    """Status and body of an answer."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, json.loads(body) if body[:1] == b"{" else None


def test_a_loop_that_turns_is_live_and_one_that_does_not_is_not(server, health, clock):
    """From the start on: a loop that never turned hangs in its first turn."""
    assert ask(server, "/healthz/live") == (200, {"ok": True, "alive_ms_ago": 0})
    clock.seconds += 5.5
    assert ask(server, "/healthz/live") == (503, {"ok": False, "alive_ms_ago": 5500})
    health.turned(rebuilt=False, lag_ms=0)
    assert ask(server, "/healthz/live") == (200, {"ok": True, "alive_ms_ago": 0})


def test_who_waits_for_kafka_is_live_and_not_ready(server, health, clock):
    """A restart would not bring the broker back, and what comes meanwhile is not known."""
    health.turned(rebuilt=True, lag_ms=0)
    for _ in range(10):
        clock.seconds += 4
        health.alive()
        assert ask(server, "/healthz/live") == (200, {"ok": True, "alive_ms_ago": 0})
        assert ask(server, "/healthz/ready")[0] == 503
    health.turned(rebuilt=True, lag_ms=0)
    assert ask(server, "/healthz/ready")[0] == 200


@pytest.mark.parametrize(
    ("rebuilt", "lag_ms", "passed_seconds", "status"),
    [(True, 0, 0, 200), (True, 1000, 0, 200), (True, 1001, 0, 503), (False, 0, 0, 503), (True, 0, 6, 503)],
)
def test_ready_is_live_rebuilt_and_close_to_the_end_of_the_logs(
    server, health, clock, rebuilt, lag_ms, passed_seconds, status
):
    """All three, and the answer says which is missing."""
    assert ask(server, "/healthz/ready")[0] == 503
    health.turned(rebuilt=rebuilt, lag_ms=lag_ms)
    clock.seconds += passed_seconds
    ago_ms = passed_seconds * 1000
    facts = {
        "ok": status == 200, "alive_ms_ago": ago_ms, "turned_ms_ago": ago_ms, "rebuilt": rebuilt, "lag_ms": lag_ms,
    }  # fmt: skip
    assert ask(server, "/healthz/ready") == (status, facts)


def test_the_version_is_told_whatever_the_loop_does(server, clock):
    """Which code hangs is worth knowing."""
    clock.seconds += 1000
    assert ask(server, "/version") == (200, {"ok": True, "version": "1", "code_digest": "c"})


def test_other_paths_and_methods_are_refused(server):
    """Queries are ignored; HEAD has no body."""
    assert ask(server, "/")[0] == 404
    assert ask(server, "/healthz")[1]["sentence"] == "there are /healthz/live, /healthz/ready, /version, /metrics"
    assert ask(server, "/version?x=1")[0] == 200
    assert ask(server, "/version", "HEAD") == (200, None)
    assert ask(server, "/version", "POST") == (501, None)


def test_a_client_that_sends_nothing_keeps_nobody_waiting(health, monkeypatch):
    """Ten silent connections, then a probe; and they are cut off."""
    monkeypatch.setattr(module, "REQUEST_SECONDS_MAX", 0.2)
    with HealthServer(health, SETTINGS, {}) as server:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(10)]
        silent[0].sendall(b"GET /healthz/live HT")
        begin = time.monotonic()
        assert ask(server, "/healthz/live")[0] == 200
        assert time.monotonic() - begin < 2
        for connection in silent:
            connection.settimeout(5)
            assert connection.recv(1000) == b""
            connection.close()


def test_a_client_that_goes_away_is_not_worth_a_line(server, capfd):
    """Nor a traceback."""
    for request in (b"GET /version HTTP/1.1\r\n\r\n", b"\xff\x00\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            # Reset instead of an orderly end, so that the answer meets a closed door.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(request)
    assert ask(server, "/version")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_nothing_listens_after_the_end(health):
    """The port is free at once."""
    with HealthServer(health, SETTINGS, {}) as server:
        port = server.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_port_that_is_taken_is_a_wrong_setting(server, health):
    """One sentence, with the place."""
    taken = load(flags=[f"health.port={server.port}"]).health
    with pytest.raises(SettingError, match=f"must be free to listen on, 127.0.0.1:{server.port}"):
        HealthServer(health, taken, {})


def test_metrics_are_what_the_loop_last_counted(server, health):
    """Text that Prometheus reads: whole numbers, each family once with its type; names are escaped."""
    figures = Figures(
        cuts=7, reductions=3, ranks=41, states={"WARNING": 2, "NORMAL": 5}, distance_ppm={'B"\\': -100_000}
    )
    health.turned(rebuilt=True, lag_ms=12, figures=figures)
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    lines = answer.read().decode().splitlines()
    connection.close()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert [line for line in lines if not line.startswith("#")] == [
        "adl_rebuilt 1", "adl_lag_ms 12", "adl_cuts_total 7", "adl_decisions_total 0", "adl_forced_trades_total 0",
        "adl_reductions_total 3", "adl_dead_letters_total 0", "adl_ranks_total 41", 'adl_symbols{state="WARNING"} 2',
        'adl_symbols{state="ACTIVE"} 0', 'adl_symbols{state="ENDED"} 0', 'adl_symbols{state="BLOCKED"} 0',
        'adl_distance_ppm{symbol="B\\"\\\\"} -100000',
    ]  # fmt: skip
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families)) == 10


def test_an_engine_counts_what_it_says():
    """States and distances of the last forecast, records written, ranks said."""
    tape = Tape().instrument().mark(price="100").fund("10")
    tape.account("loser", "60", ("BTC", "10", "105")).account("winner", "500", ("BTC", "-10", "105"))
    flags = ("state.forecast_ms=1000", "reductions.tiers=1.5:0.25", "ranks.records_per_second=10")
    engines = []
    run(RecordingSource(tape.records), MemorySink(), settings_of(*flags), on_engine=engines.append)
    figures = engines[0].figures()
    assert (figures.cuts, figures.reductions, figures.ranks) == (1, 0, 2)
    assert (figures.states.get("WARNING"), figures.distance_ppm) == (1, {"BTC": -50_000, "*": -50_000})
