"""The Kafka client's own log: passed on a little at a time, and listened to for signs that a request was lost."""

import logging
import time
from typing import Final

import structlog

QUIET_SECONDS: Final = 5.0  # a broker that is away is worth a line now and then, not twenty a second
# What `error_cb` stays silent about: a request that was not answered, a connection that dropped under one.
UNCERTAIN: Final = ("REQTMOUT", "Disconnected", "disconnected", "timed out")


class ClientWords(logging.Handler):
    """What a client has said; give `logger` to it. Lines come when the client is polled."""

    def __init__(self) -> None:
        super().__init__()
        self.uncertain = ""  # the last sign since it was cleared
        self.warning = ""  # the last one
        self.logger = logging.Logger("librdkafka")
        self.logger.addHandler(self)
        self._said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        words = " ".join(record.getMessage().split())  # it quotes what others answer, in as many lines as they like
        if any(sign in words for sign in UNCERTAIN):
            self.uncertain = words
        if record.levelno < logging.WARNING:
            return
        self.warning = words
        facility, now = words.partition(" ")[0], time.monotonic()
        if now - self._said.get(facility, -QUIET_SECONDS) >= QUIET_SECONDS:
            self._said[facility] = now
            structlog.get_logger().warning("adl.kafka", words=words)
