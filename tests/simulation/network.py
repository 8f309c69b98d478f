"""What becomes of a request: answered, lost, answered into the void, sent twice, late; and time that goes on meanwhile.

Rule: what the worker cannot notice does not happen. A request that may still come has shown itself to the client, by a
line of its log or by the time that the call took, as with the real one.
"""

from confluent_kafka import KafkaError

# What may befall a call; a swarm switches some of them on.
FATES = ("lost", "unanswered", "late", "resent", "slow", "hangs", "aborts")
SURE = ("answered",)
TIMED_OUT = "REQTMOUT [thrd:sim]: Timed out EndTxnRequest in flight"
DROPPED = "FAIL [thrd:sim]: Disconnected (after 1ms in state UP)"
LATE_STEPS = 12  # within so many calls a late request comes


class Network:
    """Between one world's clients and its broker."""

    def __init__(self, rng, clock, broker, rates):
        """`rates`: fate -> how often it befalls a call that changes something; "away", "stalls" of those that ask."""
        self.rng, self.clock, self.broker = rng, clock, broker
        self.rates = rates
        self.calm = False
        self.happened = {}
        self.answers_lost = 0  # of requests that took effect
        self._late = []  # [steps left, request]

    def turn(self):
        """One step of everything that goes on by itself."""
        self.clock.now += 0.0005
        if self.happens("clock jumps"):
            self.clock.wrong_by = self.rng.choice((-1e6, 0.0, 3600.0, 1e6))
        self.broker.tick()
        if self.rng.random() < 0.5:
            self.broker.write_markers()
        if self._late:
            for late in self._late:
                late[0] -= 1
            due = [request for left, request in self._late if left <= 0]
            self._late = [late for late in self._late if late[0] > 0]
            for request in due:
                request()

    def later(self, request):
        """A request that is still under way; whether the broker likes it nobody will hear."""
        self._late.append([self.rng.randint(1, LATE_STEPS), request])

    def fate(self, fates):
        """What befalls this call, of those named."""
        if self.calm:
            return "answered"
        draw = self.rng.random()
        for name in fates:
            draw -= self.rates.get(name, 0)
            if draw < 0:
                self.happened[name] = self.happened.get(name, 0) + 1
                return name
        return "answered"

    def happens(self, name):
        """Whether something that is no fate of a changing call happens now."""
        return self.fate((name,)) == name


def timed_out():
    return KafkaError(KafkaError._TIMED_OUT, "simulated", retriable=True)
