"""The reader of outputs: each message once and in order, whatever comes twice, and nothing behind what is wrong.

The second opinion is a reader in Java that was made from the README's words (ContractReader.java).
"""

import random
import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from schemas import BrokenError, Cut, OutputReader, decode_output, encode, first_link, link

POOL, TOPIC = "main", "adl-cuts"
JAVA = Path(__file__).with_name("ContractReader.java")


def written(count, pool=POOL, encoding="json", sequence=0, chain=None):
    """Values of a pool's topic as the worker writes them."""
    chain, values = chain or first_link(pool, TOPIC), []
    for number in range(sequence + 1, sequence + count + 1):
        message = Cut(pool=pool, sequence=number, chain=chain, number=number, log_time_ms=number, basis={"a:0": number})
        values.append(encode(message, encoding))
        chain = link(values[-1])
    return values


def sequences(messages):
    return [message.sequence for message in messages]


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_each_message_comes_once_whatever_is_repeated(encoding):
    values, reader = written(5, encoding=encoding), OutputReader(POOL, TOPIC)
    found = [message for value in [*values[:3], values[1], *values[1:], *values] for message in reader.read(value)]
    assert found == [decode_output(value) for value in values]
    assert reader.head == (5, link(values[-1]))
    reader.end()


def test_a_reader_goes_on_where_another_stood_and_drops_what_that_one_gave():
    values, first = written(6), OutputReader(POOL, TOPIC)
    for value in values[:4]:
        first.read(value)
    second = OutputReader(POOL, TOPIC, head=first.head)
    assert [sequences(second.read(value)) for value in values] == [[], [], [], [], [5], [6]]


@pytest.mark.parametrize(
    ("change", "given", "sentence"),
    [
        (lambda v: [*v[:2], *v[3:]], 2, "record 3 is missing before record 4"),
        (lambda v: [*v[:2], v[2].replace(b'"number":3', b'"number":7'), *v[3:]], 3, "record 4 does not carry the hash"),
        (lambda v: [*v[:2], v[1].replace(b'"number":2', b'"number":7')], 2, "record 2 comes again with other bytes"),
        (lambda v: [*v[:2], b'{"pool":"main"}'], 2, "no pool, sequence and chain"),
        (lambda v: [*v[:2], v[0].replace(b'"sequence":1', b'"sequence":-1')], 2, "no pool, sequence and chain"),
        (lambda v: [v[0].replace(b'"chain":"', b'"chain":"0')], 0, "record 1 does not carry the hash"),
    ],
)
def test_nothing_is_given_behind_what_is_wrong(change, given, sentence):
    reader, found = OutputReader(POOL, TOPIC), []
    values = iter(change(written(6)))

    def read_all():
        for value in values:
            found.extend(sequences(reader.read(value)))

    with pytest.raises(BrokenError, match=sentence):
        read_all()
    assert (found, reader.head[0]) == (list(range(1, given + 1)), given)
    with pytest.raises(BrokenError, match=sentence):
        reader.read(written(6)[given])
    with pytest.raises(BrokenError, match=sentence):
        reader.end()


def test_other_pools_are_passed_over_and_partitions_come_in_any_interleaving():
    values, reader = written(4), OutputReader(POOL, TOPIC, partitions=2)
    assert reader.read(written(1, pool="other")[0]) == []
    assert sequences(reader.read(values[1], 1)) == []
    assert reader.waiting == 1
    assert sequences(reader.read(values[0], 0)) == [1, 2]
    assert sequences(reader.read(values[3], 0)) == []
    assert sequences(reader.read(values[2], 1)) == [3, 4]


def test_what_every_partition_has_passed_is_missing():
    values, reader = written(6), OutputReader(POOL, TOPIC, partitions=2)
    reader.read(values[0], 0)
    assert reader.read(values[3], 0) == []
    with pytest.raises(BrokenError, match="record 2 is missing before record 4"):
        reader.read(values[4], 1)
    reader = OutputReader(POOL, TOPIC, partitions=2)
    reader.read(values[1], 1)
    with pytest.raises(BrokenError, match="record 1 is missing before record 2"):
        reader.end()


def test_messages_before_a_break_are_given_first():
    values = written(4)
    values[2] = values[2].replace(b'"chain":"', b'"chain":"0')
    reader = OutputReader(POOL, TOPIC, partitions=2)
    for at in (1, 2):
        assert reader.read(values[at], 1) == []
    assert sequences(reader.read(values[0], 0)) == [1, 2]
    with pytest.raises(BrokenError, match="record 3 does not carry"):
        reader.read(values[3], 0)


def test_a_word_that_is_not_known_stops_the_reader_before_it_moves():
    """As of a newer worker: what stands before it is given, the head stays behind that."""
    values = written(3)
    values[1] = values[1].replace(b'"type":"Cut"', b'"type":"Cot"')
    reader = OutputReader(POOL, TOPIC, partitions=2)
    assert reader.read(values[1], 1) == []
    assert sequences(reader.read(values[0], 0)) == [1]
    assert reader.head == (1, link(values[0]))
    for value in (values[1], values[2], b"\xff"):
        with pytest.raises(BrokenError, match="record 2 is none that this version knows"):
            reader.read(value, 1)
    with pytest.raises(BrokenError, match="neither JSON nor MessagePack"):
        OutputReader(POOL, TOPIC).read(b"\xff\xfe")


def test_a_partition_may_be_read_to_its_end_before_another():
    values = written(5_001)
    reader = OutputReader(POOL, TOPIC, partitions=2)
    assert not any(reader.read(value, 1) for value in values[1::2])
    found = [one for value in values[0::2] for one in sequences(reader.read(value, 0))]
    assert found == list(range(1, 5_002))
    reader.end()


def disturbed(rng):
    """Records of a few partitions, each in offset order, with a repeat, a gap or a changed byte here and there."""
    partitions = rng.choice((1, 1, 2, 3))
    logs = [[] for _ in range(partitions)]
    for value in written(rng.randrange(1, 40)):
        log = rng.choice(logs)
        log.append(value)
        if rng.random() < 0.05:
            log.append(rng.choice(log))
        if rng.random() < 0.03:
            log.extend(written(1, pool="other"))
    trouble, log = rng.randrange(5), rng.choice([log for log in logs if log])
    at = rng.randrange(len(log))
    if trouble == 0:
        del log[at]
    elif trouble == 1:
        log[at] = log[at].replace(b'"log_time_ms":', b'"log_time_ms":1')
    elif trouble == 2 and at:
        log[at - 1], log[at] = log[at], log[at - 1]
    order = [number for number, log in enumerate(logs) for _ in log]
    rng.shuffle(order)
    heads = [iter(log) for log in logs]
    return partitions, [(number, next(heads[number])) for number in order]


def ours(partitions, records):
    """What the Java reader would print."""
    reader, lines = OutputReader(POOL, TOPIC, partitions), []
    try:
        for partition, value in records:
            before = reader.head[0], reader.waiting
            found = sequences(reader.read(value, partition))
            pool = decode_output(value).pool
            if pool != POOL:
                lines.append("OTHER")
            elif not found and (reader.head[0], reader.waiting) == before:
                lines.append("REPEAT")
            else:
                lines.append(" ".join(map(str, ["GIVEN", *found])))
        reader.end()
    except BrokenError:
        return [*lines, "BROKEN"]
    return [*lines, f"END {reader.head[0]} {reader.head[1]}"]


@pytest.fixture(scope="module")
def java(tmp_path_factory):
    if shutil.which("javac") is None:
        pytest.skip("no JDK is installed")
    folder = tmp_path_factory.mktemp("java")
    subprocess.run(["javac", "-d", folder, JAVA], check=True, timeout=120)
    return folder


def theirs(folder, partitions, records):
    frames = b"".join(struct.pack(">ii", partition, len(value)) + value for partition, value in records)
    command = ["java", "-XX:TieredStopAtLevel=1", "-cp", str(folder), "ContractReader", POOL, TOPIC, str(partitions)]
    done = subprocess.run(command, input=frames, capture_output=True, timeout=60, check=True)
    return done.stdout.decode().splitlines()


def test_a_reader_made_from_the_readme_in_java_says_the_same(java):
    endings = Counter()
    for seed in range(60):
        partitions, records = disturbed(random.Random(seed))
        lines = ours(partitions, records)
        endings[lines[-1].split()[0]] += 1
        assert theirs(java, partitions, records) == lines, seed
    assert min(endings["END"], endings["BROKEN"]) > 15, endings
