"""The least that a principal must be allowed on the cluster, as `kafka-acls.sh` commands and as plain values.

Rule 1: names are literal; no prefix opens a topic that the settings do not name.
Rule 2: each operation stands for a request that is made; Read and Write let Describe in.
"""

import shlex
from typing import Final, Literal

import msgspec

from worker.edge.topics import READER_GROUP, identity, wanted_topics
from worker.settings import Settings

Operation = Literal["Read", "Write", "Describe", "DescribeConfigs"]
NEVER_READ_BACK: Final = ("adl-state", "dead-letters")
_FLAGS: Final = {"topic": "--topic", "group": "--group", "transactional-id": "--transactional-id"}


class Acl(msgspec.Struct, frozen=True):
    """Operations that are allowed on one resource."""

    resource: Literal["topic", "group", "transactional-id"]
    name: str
    operations: tuple[Operation, ...]


def acls(settings: Settings, *, read_only: bool) -> list[Acl]:
    """What `adl run` needs, or what the commands need that only read: replay, check, tail, record, topics check."""
    pool = identity(settings)
    found = []
    for want in wanted_topics(settings).values():
        writes = not (want.is_input or read_only)
        # What was said is read back when the state is rebuilt; the settings of all are judged at the start.
        reads: tuple[Operation, ...] = () if writes and set(want.carries) <= set(NEVER_READ_BACK) else ("Read",)
        found.append(Acl("topic", want.topic, (*reads, *(("Write",) if writes else ()), "DescribeConfigs")))
    found.append(Acl("group", READER_GROUP, ("Describe",)))
    # Committing a group's offsets needs Read, seeing them Describe.
    found.append(Acl("group", pool, ("Describe",) if read_only else ("Read",)))
    if not read_only:
        found.append(Acl("transactional-id", pool, ("Write",)))
    return found


def command(acl: Acl, principal: str, bootstrap: str) -> str:
    """One line for a shell; `admin.properties` says how the administrator logs in."""
    operations = " ".join(f"--operation {operation}" for operation in acl.operations)
    return (
        f"kafka-acls.sh --bootstrap-server {shlex.quote(bootstrap)} --command-config admin.properties --add "
        f"--allow-principal {shlex.quote(principal)} {operations} {_FLAGS[acl.resource]} {shlex.quote(acl.name)}"
    )
