"""`make kafka`: a local broker to try things with, until Ctrl-C; its data goes with it."""

import argparse
import signal
import sys
import threading

from tests.broker.broker import BrokerError, is_free
from tests.broker.choice import choose
from tests.broker.machine import look
from tests.broker.start import start


def main() -> int:
    """Starts it, says how to reach it, waits for Ctrl-C or SIGTERM; 0, or 1 with a sentence when there is none."""
    parser = argparse.ArgumentParser(prog="python -m tests.broker", description=__doc__)
    parser.add_argument("--port", type=int, default=9092)
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve(port)
    except KeyboardInterrupt:
        return 0
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def serve(port: int) -> None:
    """Runs the broker on a port until it is interrupted."""
    machine = look()
    choice = choose(machine)
    if not machine.bootstrap and not is_free(port):
        raise BrokerError(f"port {port} is taken; another one: make kafka KAFKA_PORT=19092")
    print(f"Kafka: {choice.value}", flush=True)
    broker = start(choice, machine, port)
    try:
        print(f"Kafka answers at {broker.bootstrap}; Ctrl-C stops it and removes its data", flush=True)
        threading.Event().wait()
    finally:
        broker.close()


if __name__ == "__main__":
    sys.exit(main())
