"""What the worker does on a local broker: python -m tests.kafka.bench [--bootstrap HOST:PORT] [--quixstreams PYTHON].

Without a bootstrap a broker is started as for the tests. Says the load, because a busy machine is part of the number.
"""

import argparse
import os
import sys

from tests.bench_solver import machine
from tests.broker.broker import Broker
from tests.broker.choice import Choice, choose
from tests.broker.machine import look
from tests.broker.start import start
from tests.kafka import ingest, latency


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", help="a broker that is there")
    parser.add_argument("--quixstreams", default=sys.executable, help="the Python of an environment that has it")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    options = parser.parse_args()
    found = look()
    choice = choose(found)
    if options.bootstrap is None and choice is Choice.NONE:
        print(choice.value)
        return
    broker = Broker(options.bootstrap, "given") if options.bootstrap else start(choice, found)
    small = {"accounts": 2000, "mark_count": 2000, "rounds": 1} if options.small else {}
    try:
        print(f"{machine()}\nKafka: {broker.kind}; load {os.getloadavg()[0]:.1f}")
        for line in ingest.lines(broker, options.quixstreams, **small):
            print(line, flush=True)
        for line in latency.lines(broker, *([20] if options.small else [])):
            print(line, flush=True)
        print(f"load {os.getloadavg()[0]:.1f}")
    finally:
        broker.close()


if __name__ == "__main__":
    main()
