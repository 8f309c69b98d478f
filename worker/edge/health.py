"""Health over HTTP: /healthz/live, /healthz/ready, /version and /metrics, from a thread that only reads what the loop
last said.

Live: the worker's thread does something, and be it to wait for Kafka, which a restart would not bring back. Ready: the
state is rebuilt, the loop turns, and what is still to be read is not older than the limit.
Rule 1: the loop writes one value and never waits for a reader; a probe never touches the loop's state.
"""

import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final, Self

import msgspec

from worker.edge.metrics import CONTENT_TYPE, exposition
from worker.figures import Figures
from worker.settings import HealthSettings, SettingError

REQUEST_SECONDS_MAX = 5.0  # a client that sends slower than this is cut off
TURN_MS_MAX: Final = 1000  # an idle loop turns more often than this


class Turn(msgspec.Struct, frozen=True):
    """What the loop says each time it comes round; `lag_ms` in log time, 0 when all that is there has been read."""

    at_seconds: float
    rebuilt: bool = False
    lag_ms: int = 0
    figures: Figures = Figures()


class Health:
    """What the loop last said, and whether that is well."""

    def __init__(self, settings: HealthSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._turn = Turn(clock())  # replaced as a whole: no lock
        self._alive_at = clock()

    def turned(self, *, rebuilt: bool, lag_ms: int, figures: Figures = Figures()) -> None:  # noqa: B008  it is frozen
        """The loop came round."""
        self._turn = Turn(self._clock(), rebuilt, lag_ms, figures)
        self._alive_at = self._turn.at_seconds

    def alive(self) -> None:
        """The thread that the loop runs in is not stuck; it may be waiting for Kafka."""
        self._alive_at = self._clock()

    def live(self) -> dict[str, Any]:
        """`ok` while nothing takes too long, with how long ago there was a sign of that."""
        ago_ms = self._ago_ms(self._alive_at)
        return {"ok": ago_ms <= self._settings.stall_ms_max, "alive_ms_ago": ago_ms}

    def ready(self) -> dict[str, Any]:
        """`ok` when live, rebuilt and close to the end of the logs, with the facts."""
        live, turn, limit_ms = self.live(), self._turn, self._settings.lag_ms_max
        ago_ms = self._ago_ms(turn.at_seconds)  # what has come since then is not known
        ok = live["ok"] and turn.rebuilt and turn.lag_ms <= limit_ms and ago_ms <= max(limit_ms, TURN_MS_MAX)
        return live | {"ok": ok, "turned_ms_ago": ago_ms, "rebuilt": turn.rebuilt, "lag_ms": turn.lag_ms}

    def metrics(self) -> str:
        """What is counted, for Prometheus."""
        turn = self._turn
        return exposition(turn.figures, rebuilt=turn.rebuilt, lag_ms=turn.lag_ms)

    def _ago_ms(self, at_seconds: float) -> int:
        return int((self._clock() - at_seconds) * 1000)


class HealthServer:
    """Answers probes while inside; raises SettingError when the port cannot be had."""

    def __init__(self, health: Health, settings: HealthSettings, version: Mapping[str, str]) -> None:
        answers: dict[str, Callable[[], dict[str, Any] | str]] = {
            "/healthz/live": health.live,
            "/healthz/ready": health.ready,
            "/version": lambda: {"ok": True, **version},
            "/metrics": health.metrics,
        }
        try:
            self._server = _Server((settings.address, settings.port or 0), _handler(answers))
        except OSError as error:
            where = f"{settings.address}:{settings.port}"
            raise SettingError(f"health.address and health.port must be free to listen on, {where}: {error}") from None
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:  # a probe that went away before its answer
        pass


def _handler(answers: Mapping[str, Callable[[], dict[str, Any] | str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS_MAX
        server_version, sys_version = "adl", ""

        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            missing = {"ok": False, "sentence": f"there are {', '.join(answers)}"}
            found = missing if answer is None else answer()
            if isinstance(found, str):
                well, body, kind = True, found.encode(), CONTENT_TYPE
            else:
                well, body, kind = found["ok"] is True, msgspec.json.encode(found) + b"\n", "application/json"
            self.send_response(404 if answer is None else 200 if well else 503)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815  the base's name

        def log_message(self, *_: Any) -> None:  # a probe a second is no news
            pass

    return Handler
