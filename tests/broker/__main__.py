"""`make kafka`: a local broker to try things with, until Ctrl-C; its data goes with it."""

import argparse
import signal
import sys
import threading

from tests.broker.broker import BrokerError
from tests.broker.choice import choose
from tests.broker.machine import look
from tests.broker.start import start


def main() -> int:
    """Starts it, says how to reach it, waits for Ctrl-C or SIGTERM; 0, or 1 with a sentence when there is none."""
    parser = argparse.ArgumentParser(prog="python -m tests.broker", description=__doc__)
    parser.add_argument("--port", type=int, default=9092)
    port = parser.parse_args().port
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.set())
    machine = look()
    choice = choose(machine)
    print(f"Kafka: starting {choice.value}", flush=True)
    try:
        broker = start(choice, machine, port)
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        print(f"Kafka answers at {broker.bootstrap}. Ctrl-C stops it and removes its data.", flush=True)
        stopped.wait()
    finally:
        broker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
