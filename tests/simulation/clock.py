"""Time that passes when it is told to; stands for the module `time` in the edge."""

EPOCH_SECONDS = 1_700_000_000.0


class Clock:
    """Seconds since the simulation began; the wall clock can be set wrong."""

    def __init__(self):
        self.now = 0.0
        self.wrong_by = 0.0

    def monotonic(self):
        return self.now

    def time(self):
        return EPOCH_SECONDS + self.now + self.wrong_by

    def sleep(self, seconds):
        self.now += seconds
