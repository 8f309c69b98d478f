"""How many of its cases a test tries: all, or one in eight where every index of every kernel is checked.

Rule: what is thinned is seeds and examples, never laws or kinds of tests.
"""

import os

EVERY = 8 if os.environ.get("NUMBA_BOUNDSCHECK") == "1" else 1  # such kernels take many times as long


def thin(cases):
    """The cases to try, of a sequence; of eight rounds of shapes, which are odd in number, every shape once."""
    return cases[::EVERY]


def examples(count):
    """How many examples hypothesis tries."""
    return -(-count // EVERY)
