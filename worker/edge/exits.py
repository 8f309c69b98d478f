"""How the process ends: the closed list of exit codes, and the exceptions of the edge that lead to them.

Whoever restarts the worker may do so after codes 5 to 9 and 11; codes 2 to 4 and 10 need a person first.
"""

from enum import IntEnum


class Exit(IntEnum):
    """One code for each expected end."""

    DONE = 0  # ran to its end, or was asked to stop
    DIFFERENCE = 1  # a check or `--verify` found a difference
    USAGE = 2  # wrong use or settings, ours or Kafka's
    UNREADABLE = 3  # a file cannot be read
    STATE_LOST = 4  # the inputs and what was committed about them do not agree, or a part of a log is gone
    UNREACHABLE = 5  # Kafka did not answer for longer than the worker waits
    FENCED = 6  # another process writes for this pool
    CLIENT = 7  # the Kafka client reported what it never should: our bug, or its
    HUNG = 8  # calls to the Kafka client do not come back
    MORE_PARTITIONS = 9  # an input has partitions that are not read yet; a restart reads them
    POISONED = 10  # more input was refused than is allowed; what was refused is committed
    KEPT_WRONG = 11  # a snapshot was wrong and is set aside; a restart takes an older one, or reads the whole log


class EdgeError(Exception):
    """An end that Kafka brings about; the message is one sentence for the operator."""

    exit = Exit.CLIENT


class LogLostError(EdgeError):
    """A part of a log that the state rests on is gone."""

    exit = Exit.STATE_LOST


class WrongTopicsError(EdgeError):
    """Topics are missing or set up in a way that the worker cannot work with."""

    exit = Exit.USAGE


class NotAllowedError(EdgeError):
    """Kafka refuses what the worker must do, and would again: a right is missing, or a limit too small."""

    exit = Exit.USAGE


class UnreachableError(EdgeError):
    """Kafka does not answer."""

    exit = Exit.UNREACHABLE


class FencedError(EdgeError):
    """Another producer has taken the pool's transactional id."""

    exit = Exit.FENCED


class ClientError(EdgeError):
    """The client says something that must not happen."""


class HangingError(EdgeError):
    """The client hangs again and again."""

    exit = Exit.HUNG


class MorePartitionsError(EdgeError):
    """An input topic has got partitions while it was read."""

    exit = Exit.MORE_PARTITIONS


class StoppedError(EdgeError):
    """The worker was asked to stop while it waited for Kafka; whether a commit took effect is for its next start."""

    exit = Exit.DONE
