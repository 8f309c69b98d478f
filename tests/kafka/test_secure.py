"""TLS and SASL as an operator sets them: the worker runs through them, and its password is nowhere to be seen."""

import os
import subprocess
import sys

import pytest

from tests.kafka.secure import SecureBroker, make_key
from tests.kafka.topics import ROOT, Topics, Worker, expected
from tests.worker.random_tape import PARTITIONS, random_log
from worker.edge.exits import Exit
from worker.settings import load, to_toml

USER, PASSWORD = "adl", "hunter2-Xy"  # made up
FLAGS = ("pool.currency=USD", "pool.currency_decimals=2")


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    broker = SecureBroker(tmp_path_factory.mktemp("tls"))
    try:
        broker.start()
        broker.add_user(USER, PASSWORD)
        yield broker
    finally:
        broker.close()


def flags(broker, ca, password_file):
    return [
        f"kafka.bootstrap={broker.secure}",
        "kafka.client.security.protocol=SASL_SSL",
        "kafka.client.sasl.mechanism=SCRAM-SHA-512",
        f"kafka.client.sasl.username={USER}",
        f"kafka.client.sasl.password_file={password_file}",
        f"kafka.client.ssl.ca.location={ca}",
    ]


def start_adl(path, *arguments, **environ):
    return subprocess.Popen(
        [sys.executable, "-m", "worker.cli", *arguments, "--settings", str(path)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environ,
    )  # fmt: skip


@pytest.fixture(scope="module")
def refused(secure, tmp_path_factory):
    """Two commands that will not get in, and the passwords they try; they give up while the first test runs."""
    folder = tmp_path_factory.mktemp("refused")
    other_ca = folder / "other.pem"
    make_key(folder, other_ca)
    running = []
    for name, ca, text in (("password", secure.ca, PASSWORD + "no"), ("certificate", other_ca, PASSWORD)):
        given, path = folder / name, folder / f"{name}.toml"
        given.write_text(text)
        path.write_text(to_toml(load(flags=[*flags(secure, ca, given), "log.level=error"])))
        running.append((start_adl(path, "check"), text))
    return running


@pytest.mark.usefixtures("refused")
def test_the_worker_runs_through_tls_and_sasl_and_never_tells_its_password(secure, tmp_path):
    """The bytes are those of a run on the recording; file and environment serve alike."""
    records = random_log(5, accounts=60, end_ms=10_000)
    topics = Topics(secure, PARTITIONS)
    topics.publish(records)
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    settings = topics.settings(*FLAGS, *flags(secure, secure.ca, password))
    wanted = expected(topics, records, settings)
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0, worker.words()
    assert topics.outputs() == wanted
    shown = start_adl(worker.path, "config", "show")
    password.unlink()  # the variable wins
    tail = start_adl(worker.path, "tail", "-n", "1", ADL_KAFKA__CLIENT__SASL_PASSWORD=PASSWORD)
    texts = [worker.words(), *shown.communicate(), *tail.communicate()]
    assert (shown.returncode, tail.returncode) == (0, 0), texts
    assert len(texts[3].splitlines()) == 1
    assert PASSWORD not in "".join(texts)


def test_a_wrong_password_or_certificate_is_said_in_one_line(refused):
    """What the client says of it, without the password."""
    said = [process.communicate(timeout=60) for process, _ in refused]
    assert [process.returncode for process, _ in refused] == [Exit.UNREACHABLE, Exit.UNREACHABLE], said
    assert "authentication" in said[0][1].lower()
    assert "certificate verify failed" in said[1][1]
    for (_, text), (out, err) in zip(refused, said, strict=True):
        assert (out, err.count("\n")) == ("", 1)
        assert text not in err
