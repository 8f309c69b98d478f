"""What the worker may write: the outputs that the settings name, and nothing else, whatever is decided."""

import pytest

from tests.kafka.test_errors import CONFIG
from tests.kafka.topics import Topics
from tests.worker.random_tape import PARTITIONS, random_log
from worker.cli.run import run_pool
from worker.edge.exits import ClientError, Exit
from worker.edge.kafka_cluster import Cluster
from worker.edge.kafka_sink import KafkaSink
from worker.edge.watchdog import Watchdog
from worker.output import CUTS, STATE, TRADES
from worker.record import Output

FLAGS = ("pool.currency=USD", "pool.currency_decimals=2", "log.level=error")
INPUT = "positions"


@pytest.fixture
def sink():
    watchdog = Watchdog()
    names = {TRADES: "t", STATE: "s"}
    sink = KafkaSink(CONFIG, Cluster(CONFIG), names, [], pool="p", identity="i", watchdog=watchdog)
    yield sink
    sink.close()
    watchdog.close()


@pytest.mark.parametrize("topic", [INPUT, CUTS, "t", ""])
def test_what_is_none_of_the_outputs_is_refused_before_anything_is_sent(sink, topic):
    """Advice too; the configured name of an output is not its name."""
    good, wrong = Output(TRADES, b"k", b"v", 5), Output(topic, b"k", b"v", 5)
    for write in (lambda: sink.commit([good, wrong], {}, "", 5), lambda: sink.advise([good, wrong], 5)):
        with pytest.raises(ClientError) as error:
            write()
        assert str(error.value) == f"nothing may be written but {STATE}, {TRADES}, was {topic}"
    assert sink._advice == {}


def test_an_output_that_goes_astray_ends_the_run_as_our_bug(broker, capsys):
    """Nothing of its cut is committed, and the input it was meant for is as it was."""
    topics = Topics(broker, PARTITIONS)
    topics.publish(random_log(5, accounts=60, end_ms=10_000))
    ends = topics.ends()

    def astray(engine):
        cut = engine.cut
        engine.cut = lambda *point: [*cut(*point), Output(topics.named(INPUT), b"key", b"{}", 5)]

    with pytest.raises(SystemExit) as ended:
        run_pool(topics.settings(*FLAGS), lambda: False, on_engine=astray)
    assert ended.value.code == Exit.CLIENT
    said = capsys.readouterr().err
    assert said.startswith("adl: nothing may be written but")
    assert (said.endswith(f", was {topics.named(INPUT)}\n"), said.count("\n")) == (True, 1)
    assert topics.ends() == ends
    assert all(records == [] for records in topics.outputs().values())
