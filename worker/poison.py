"""How many records were refused of late; so many that the feed itself is wrong must stop the pool, not fill a topic.

Rule: counted in log time and at cuts, so that a pool that stopped here stops here again until a person has looked.
"""

from typing import Final

MINUTE_MS: Final = 60_000


class PoisonedError(Exception):
    """More records were refused in a minute of log time than a person allows; the sentence says how many."""


class Poison:
    """Refused records of the current minute of log time."""

    def __init__(self) -> None:
        self._minute = 0
        self._count = 0

    def see(self, log_time_ms: int, refused: int) -> None:
        """Counts what was refused at a cut; cuts come in the order of their log times."""
        minute = log_time_ms // MINUTE_MS
        if minute != self._minute:
            self._minute, self._count = minute, 0
        self._count += refused

    def beyond(self, most: int | None) -> bool:
        """Whether more than `most` were refused; None: never."""
        return most is not None and self._count > most

    def judge(self, most: int | None) -> None:
        """Raises PoisonedError where it is beyond `most`."""
        if self.beyond(most):
            raise PoisonedError(
                f"{self._count:,} records were refused in the minute of log time that begins at "
                f"{self._minute * MINUTE_MS}, health.refused_per_minute_max is {most:,}: see dead-letters, mend the "
                "feed and raise the limit to go on"
            )
