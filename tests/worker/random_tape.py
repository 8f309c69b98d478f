"""Seeded logs of a small exchange in trouble, with the answers it gives to our forced trades.

`random_log(seed)` lets an exchange act in log time while sequencer and engine read along. Each forced trade is executed
a little later (filled, partly filled or refused) and answered by a result and an account update with its `adl_seq`, so
that the loop is closed and further attempts happen. The records that come out are one complete log.
"""

from schemas import (
    Refused,
)
from tests.worker.random_exchange import PARTITIONS, Exchange
from tests.worker.tape import TOPIC, settings_of
from worker.cut import KIND, Event, Sequencer
from worker.engine import Engine
from worker.formats import decoders
from worker.record import END, Record

TIERS = "3:0.25, 2:0.5, 1.3:1"  # of accounts that are seldom in need


def random_settings(*flags):
    """Settings under which a limit holds decisions too, states come and go, and margins are reduced in stages."""
    states = ("state.forecast_ms=3000", "state.warning_shock=0.05", "state.warning_fall=0.1", "state.quiet_ms=1000")
    return settings_of("decision.accounts_max=12", f"reductions.tiers={TIERS}", *states, *flags)


def random_log(seed, *, accounts=200, end_ms=24_000, poison=True, settings=None, said=None):
    """Records of a complete log in the order in which they were written, the exchange's answers among them.

    `said` collects the outputs that the engine gave while the log grew.
    """
    settings = settings or random_settings()
    engine = Engine(settings)
    sequencer = Sequencer(PARTITIONS, settings.cut.watch_ms, settings.cut.joint_window_ms)
    records, offsets = [], dict.fromkeys(PARTITIONS, 0)

    def write(topic, partition, stamp_ms, key, value):
        record = Record(topic, partition, offsets[topic, partition], stamp_ms, key, value)
        offsets[topic, partition] += 1
        records.append(record)
        sequencer.push(event_of(record))

    exchange = Exchange(seed, write, accounts=accounts, end_ms=end_ms, poison=poison)
    while exchange.due:
        now_ms = exchange.act()
        until_ms = now_ms + 1 if exchange.due else END
        for step in list(sequencer.steps(lambda _, until_ms=until_ms: until_ms)):
            if isinstance(step, Event):
                engine.apply(step)
            else:
                outputs = engine.cut(step)
                exchange.answer(outputs, max(now_ms, step.log_time_ms))
                if said is not None:
                    said += outputs
    return records


DECODERS = decoders(settings_of())
KIND_OF_TOPIC = {topic: KIND[message] for message, topic in TOPIC.items()}


def event_of(record):
    """The event of a record whose topic carries its own kind of message."""
    kind = KIND_OF_TOPIC[record.topic]
    try:
        return Event(record, [] if record.value is None else DECODERS[record.topic](record), kind)
    except Refused as refused:
        return Event(record, [], kind, refused)
