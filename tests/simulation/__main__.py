"""Runs seeds: `python -m tests.simulation --seeds 0:720`; one that fails is printed with the command that repeats it.

`--mutation NAME` runs them on a worker that has been broken in one place, until a seed finds it.
"""

import argparse
import sys
import time
from collections import Counter

from tests.simulation.mutations import MUTATIONS
from tests.simulation.play import play


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0:100", help="FIRST:END, or one seed")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), help="break the worker so")
    given = parser.parse_args()
    first, _, end = given.seeds.partition(":")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    begun, totals, failed = time.process_time(), Counter(), []
    for seed in seeds:
        report = play(seed, given.mutation)
        totals.update(report.counts())
        if report.failure:
            failed.append(seed)
            print(f"seed {seed}: {report.failure}", flush=True)
            print(f"  again: {again(seed, given.mutation)}", flush=True)
            if given.mutation:
                break
    for name, count in sorted(totals.items()):
        print(f"{name}: {count:,}")
    print(f"{len(seeds):,} seeds, {len(failed)} failed, {time.process_time() - begun:.0f} s of one core")
    return 1 if failed else 0


def again(seed, mutation):
    """The command that repeats a seed."""
    return f"python -m tests.simulation --seeds {seed}" + (f' --mutation "{mutation}"' if mutation else "")


if __name__ == "__main__":
    sys.exit(main())
