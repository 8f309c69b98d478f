"""Many faults on a real Kafka: `python -m tests.kafka.nightly --kills 500 --stops 200 --delayed 100 [--seed 1]`.

In rounds, each a log from a seed of its own on topics of its own; what was said in the end is compared byte for byte
with an undisturbed run. A round that fails is printed with its seed, the others go on, and the exit code is 1.
"""

import argparse
import random
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.broker.choice import choose
from tests.broker.machine import look
from tests.broker.start import start
from tests.kafka.killed import POINTS, STOP
from tests.kafka.test_network import late_commits
from tests.kafka.test_run import killed_and_finished, stopped_lives
from tests.kafka.topics import Topics
from tests.worker.random_tape import PARTITIONS, random_log
from worker.warm import warm

ROUND = 25  # faults in one round
AT_ONCE = 2  # rounds: a takeover is mostly waiting for the broker


def killed_round(broker, folder, seed, count):
    """SIGKILL at a named point or at any time."""
    rng, lives = random.Random(seed), []
    for _ in range(count):
        point = rng.choice(POINTS)
        named = f"{point}={1 if point == 'ends are asked' else rng.randint(1, 9)}"
        lives.append(named if rng.random() < 0.5 else f"after seconds={rng.uniform(0, 0.25):.4f}")
    killed_and_finished(Topics(broker, PARTITIONS), log_of(seed), folder, lives)


def stopped_round(broker, folder, seed, count):
    """SIGTERM at any time: exit code 0 within ten seconds."""
    lives = stopped_lives(random.Random(seed), count)
    killed_and_finished(Topics(broker, PARTITIONS), log_of(seed), folder, lives, [(STOP, "0")] * count)


def delayed_round(broker, folder, seed, count):
    """A commit that reaches the broker in the middle of the next transaction, again and again."""
    torn, codes = late_commits(broker, log_of(seed), folder, count)
    assert torn == 0, f"{torn} transactions were torn"
    assert 0 not in codes, f"the broker took a late commit: {codes}"


def log_of(seed):
    return random_log(seed, accounts=60, end_ms=60_000)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.kafka.nightly", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--stops", type=int, default=200)
    parser.add_argument("--delayed", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next ones count on")
    given = parser.parse_args()
    machine = look()
    warm()
    broker = start(choose(machine), machine)
    print(f"Kafka: {broker.kind}", flush=True)
    failed, seed = [], given.seed
    try:
        for name, play, count in (
            ("kills", killed_round, given.kills),
            ("stops", stopped_round, given.stops),
            ("delayed", delayed_round, given.delayed),
        ):
            rounds = [(seed + number, min(ROUND, count - done)) for number, done in enumerate(range(0, count, ROUND))]
            seed += len(rounds)
            failed += played(name, partial(play, broker), rounds)
    finally:
        broker.close()
    print("; ".join(failed) or "nothing was lost, doubled or torn", flush=True)
    return 1 if failed else 0


def played(name, play, rounds):
    """Plays the rounds (seed, faults), a few at once; the commands that repeat those that failed."""
    failed, done, begun = [], 0, time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for (seed, count), error in zip(rounds, threads.map(partial(outcome, play), rounds), strict=True):
            done += count
            print(f"{name}: {done} after {time.monotonic() - begun:.0f} s, seed {seed} {'FAILED' if error else 'good'}")
            sys.stdout.flush()
            if error:
                others = " ".join(f"--{other} 0" for other in ("kills", "stops", "delayed") if other != name)
                failed.append(f"again: python -m tests.kafka.nightly --seed {seed} --{name} {count} {others}")
                print(f"{error}{failed[-1]}", flush=True)
    return failed


def outcome(play, seed_and_count):
    """What went wrong in a round, nothing where all is well."""
    with tempfile.TemporaryDirectory(prefix="adl-nightly-") as folder:
        try:
            play(Path(folder), *seed_and_count)
        except (Exception, SystemExit):  # noqa: BLE001  whatever it is, the others go on
            return traceback.format_exc()
    return ""


if __name__ == "__main__":
    sys.exit(main())
