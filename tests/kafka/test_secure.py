"""TLS, passwords, certificates and tokens as an operator sets them: the worker runs through each, waits for what is
away, says in one line what is wrong, and no secret is to be seen anywhere.
"""

import base64
import os
import subprocess
import sys
import time
from types import SimpleNamespace
from urllib.request import urlopen

import pytest

from tests.broker.broker import free_port
from tests.kafka.issuer import Issuer, basic
from tests.kafka.secure import SecureBroker, make_client_key, make_key
from tests.kafka.topics import ROOT, Topics, Worker, expected
from tests.worker.random_tape import PARTITIONS, random_log
from worker.edge.exits import Exit
from worker.settings import load, to_toml

USER = "adl"
# Made up, one for each door; the settings name the files that they are in.
SECRETS = {
    "scram": ("sasl.password", "hunter2-Xy"),
    "mutual": ("ssl.key.password", "tr0ub4dor-Zk"),
    "token": ("sasl.oauthbearer.client.secret", "s3same-Qw"),
}
FLAGS = ("pool.currency=USD", "pool.currency_decimals=2")
TOKEN_S = 10
CLIENTS = 5  # of a worker: what asks, reads, writes, advises, and sees what is committed


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The broker, who gives out its tokens, and what a client needs."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = make_client_key(folder, USER, SECRETS["mutual"][1])
    issuer = Issuer(folder, USER, SECRETS["token"][1], TOKEN_S)
    issuer.open()
    broker = SecureBroker(folder, issuer.url, certificate)
    try:
        broker.start()
        broker.add_user(USER, SECRETS["scram"][1])
        yield SimpleNamespace(broker=broker, issuer=issuer, key=key, certificate=certificate, ca=broker.ca)
    finally:
        broker.close()
        issuer.close()


def flags(place, door, folder, **changed):
    """The client's settings for a door; `changed`: what is given otherwise, `secret` among it."""
    name, secret = SECRETS[door]
    given = folder / f"{door}-secret"
    given.write_text(changed.pop("secret", secret) + "\n")
    found = {f"{name}_file": given, "ssl.ca.location": place.ca, "security.protocol": "SASL_SSL"}
    if door == "scram":
        found |= {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": USER}
    elif door == "mutual":
        found |= {
            "security.protocol": "SSL", "ssl.key.location": place.key, "ssl.certificate.location": place.certificate,
        }  # fmt: skip
    else:
        found |= {
            "sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.client.id": USER,
            "sasl.oauthbearer.token.endpoint.url": f"{place.issuer.url}/token",
        }  # fmt: skip
    found |= {key.replace("_", "."): value for key, value in changed.items()}
    client = [f"kafka.client.{key}={value}" for key, value in found.items()]
    return [f"kafka.bootstrap={place.broker.doors[door]}", *client]


def start_adl(path, *arguments, **environ):
    return subprocess.Popen(
        [sys.executable, "-m", "worker.cli", *arguments, "--settings", str(path)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environ,
    )  # fmt: skip


def hidden(place, *secrets):
    """What must not be seen: secrets, also as they travel, what a key file holds, and every token."""
    found = {*secrets, *place.key.read_text().splitlines()[1:-1], *place.issuer.tokens}
    for secret in secrets:
        found |= {base64.b64encode(secret.encode()).decode(), basic(USER, secret)}
    return found


def assert_hidden(place, text, *secrets):
    assert text
    assert [secret for secret in hidden(place, *secrets) if secret in text] == []


def shown(door, worker, port):
    """What commands and probes say of a worker that runs; the client of one of them tells all it does."""
    name, secret = SECRETS[door]
    pages = [urlopen(f"http://127.0.0.1:{port}{path}").read().decode() for path in ("/version", "/metrics")]
    variable = {f"ADL_KAFKA__CLIENT__{name.upper().replace('.', '_')}": secret}  # it wins over the file
    commands = [
        start_adl(worker.path, "config", "show"),
        start_adl(worker.path, "config", "show", "--json"),
        start_adl(worker.path, "tail", "-n", "1", ADL_KAFKA__CLIENT__DEBUG="all", **variable),
    ]
    texts = [command.communicate(timeout=60) for command in commands]
    assert [command.returncode for command in commands] == [0, 0, 0], texts
    assert len(texts[2][0].splitlines()) == 1
    return "\n".join([*pages, *(text for pair in texts for text in pair)])


# --- refused ----------------------------------------------------------------------------------------------------------

REFUSED = {
    "password": (Exit.UNREACHABLE, "authentication failed"),
    "broker's certificate": (Exit.UNREACHABLE, "certificate verify failed"),
    "client's certificate": (Exit.UNREACHABLE, "certificate"),
    "key's password": (Exit.USAGE, "ssl.key.location failed"),
    "client secret": (Exit.UNREACHABLE, "invalid_client"),
    "no endpoint": (Exit.UNREACHABLE, "token"),
}


@pytest.fixture(scope="module")
def refused(place, tmp_path_factory):
    """Commands that will not get in, and the secrets they try; they give up while the first test runs."""
    folder = tmp_path_factory.mktemp("refused")
    make_key(folder, other_ca := folder / "other.pem")
    _, password = SECRETS["mutual"]
    other_key, other_certificate = make_client_key(folder, "other", password)
    other = {"ssl_key_location": other_key, "ssl_certificate_location": other_certificate}
    nowhere = f"http://127.0.0.1:{free_port()}/token"
    running = {}
    for name, door, changed in (
        ("password", "scram", {"secret": "hunter2-no"}),
        ("broker's certificate", "scram", {"ssl_ca_location": other_ca}),
        ("client's certificate", "mutual", other),
        ("key's password", "mutual", {"secret": "tr0ub4dor-no"}),
        ("client secret", "token", {"secret": "s3same-no"}),
        ("no endpoint", "token", {"sasl_oauthbearer_token_endpoint_url": nowhere}),
    ):  # fmt: skip
        (given := folder / name).mkdir()
        (path := given / "settings.toml").write_text(
            to_toml(load(flags=[*flags(place, door, given, **changed), "log.level=error"]))
        )
        running[name] = start_adl(path, "check"), changed.get("secret", SECRETS[door][1])
    return running


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("door", ["scram", "mutual"])
def test_the_worker_runs_through_a_door_that_demands_a_secret_and_never_tells_it(place, door, tmp_path):
    """The bytes are those of a run on the recording; file and environment serve alike."""
    records = random_log(5, accounts=60, end_ms=10_000)
    topics, port = Topics(place.broker, PARTITIONS), free_port()
    topics.publish(records)
    settings = topics.settings(*FLAGS, *flags(place, door, tmp_path), f"health.port={port}")
    wanted = expected(topics, records, settings)
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        texts = shown(door, worker, port)
        assert worker.stop() == 0, worker.words()
    assert topics.outputs() == wanted
    assert_hidden(place, texts + worker.words(), SECRETS[door][1])


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_let_us_in_is_said_in_one_line(place, refused, name):
    """What the client says of it, without the secret though the answer repeats it; an exit code, in bounded time."""
    (process, secret), (code, words) = refused[name], REFUSED[name]
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.count("\n")) == (code, "", 1), err
    assert words in err.lower()
    assert_hidden(place, err, secret)


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.night
def test_tokens_are_renewed_and_an_endpoint_that_is_away_is_waited_for(place, tmp_path):
    """Every connection ends with its token, and the worker reads, asks and commits through three lives of one."""
    records = random_log(5, accounts=60, end_ms=20_000)
    third = len(records) // 3
    topics, port, issuer = Topics(place.broker, PARTITIONS), free_port(), place.issuer
    topics.publish(records[:third])
    settings = topics.settings(*FLAGS, *flags(place, "token", tmp_path), f"health.port={port}")
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        texts = shown("token", worker, port)
        given = len(issuer.tokens)
        time.sleep(2 * TOKEN_S + 1)
        topics.publish(records[third : 2 * third])
        topics.wait_until_read(seconds=TOKEN_S, alive=worker.alive)
        assert not [sign for sign in ("OIDC", "AUTH", "commit_uncertain") if sign in worker.words()], worker.words()
        assert len(issuer.tokens) - given >= 2 * CLIENTS
        issuer.close()
        try:
            worker.wait_until("adl.commit_uncertain", seconds=3 * TOKEN_S)  # the pool's producer was shut out
            topics.publish(records[2 * third :])
        finally:
            issuer.open()
        topics.wait_until_read(seconds=4 * TOKEN_S, alive=worker.alive)
        assert worker.stop() == 0, worker.words()
        code, words = worker.replayed("--from-offsets", "beginning", "--verify")
    assert code == 0, words
    assert_hidden(place, texts + words + worker.words(), SECRETS["token"][1])
