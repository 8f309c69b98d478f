"""Secrets: read from files and variables, handed to the client, taken out of everything that is shown."""

import json
import os
import sys

import pytest
import structlog
from confluent_kafka import Producer

from tests.worker.test_cli import adl
from worker.cli.run import run_pool
from worker.edge import secrets
from worker.edge.exits import Exit
from worker.edge.log import start_logging
from worker.edge.secrets import client_config, masked
from worker.settings import SettingError, load

SECRET = "correct horse battery"  # noqa: S105  a made-up one


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(secrets, "_seen", set())


def test_the_client_gets_files_and_variables_filled_in(tmp_path):
    """A line end at the end of a file is not part of the password; the library takes the result."""
    (tmp_path / "password").write_text(SECRET + "\n")
    environ = {"ADL_KAFKA__CLIENT__SSL_KEY_PASSWORD": "k", "USER_NAME": "adl"}
    toml = f"""[kafka]
    bootstrap = "b:9093"
    client.security.protocol = "SASL_PLAINTEXT"
    client.sasl.mechanism = "PLAIN"
    client."sasl.username_env" = "USER_NAME"
    client."sasl.password_file" = "{tmp_path / "password"}"
    client.socket.keepalive.enable = true
    client.socket.timeout.ms = 5000"""
    config = client_config(load(toml, environ).kafka, environ)
    assert config == {
        "bootstrap.servers": "b:9093",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "adl",
        "sasl.password": SECRET,
        "socket.keepalive.enable": "true",
        "socket.timeout.ms": "5000",
        "ssl.key.password": "k",
    }
    del config["bootstrap.servers"]  # nothing to connect to
    Producer(config)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "sasl.password_file must be a readable file, {path} is not: No such file or directory"),
        (b"\n", "sasl.password_file must hold something, the file {path} does not"),
        (b"\xff" + SECRET.encode(), "sasl.password_file must be a readable file, {path} is not: it is not text"),
    ],
)
def test_a_secret_that_is_not_there_is_one_sentence(tmp_path, content, sentence):
    """With the path, without the content."""
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError) as error:
        client_config(load(flags=[f"kafka.client.sasl.password_file={path}"]).kafka, {})
    assert str(error.value) == "kafka.client: " + sentence.format(path=path)


def test_no_log_line_carries_a_secret(capsys):
    """Whatever a library put into its message."""
    environ = {"ADL_KAFKA__CLIENT__SASL_PASSWORD": SECRET}
    client_config(load("", environ).kafka, environ)
    start_logging("json", "info")
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        structlog.get_logger().exception(
            f"kafka.{SECRET}", error=error, config={"sasl.password": SECRET}, brokers=[3, SECRET], none=None
        )
    line = capsys.readouterr().err
    assert SECRET not in line
    said = json.loads(line)
    assert (said["brokers"], said["none"], said["error"]) == ([3, "***"], None, "ValueError('***')")
    assert said["config"] == {"sasl.password": "***"}
    assert masked(f"a {SECRET} b") == "a *** b"


def test_a_secret_of_several_lines_is_taken_out_however_it_is_quoted(tmp_path):
    """A key: whole, escaped, in one line, or a line of it alone."""
    lines = ["-----BEGIN PRIVATE KEY-----", "MIGHAgEAMBMGByqGSM49", "dcmQ3cmQ=", "-----END PRIVATE KEY-----"]
    (tmp_path / "key").write_text("\n".join([*lines, ""]))
    client_config(load(flags=[f"kafka.client.ssl.key.pem_file={tmp_path / 'key'}"]).kafka, {})
    for text in ("\n".join(lines), repr("\n".join(lines)), " ".join(lines), *lines):
        assert not [line for line in lines if line in masked(f"it was {text}")]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_config_show_names_the_place_of_a_secret_and_not_the_secret(capsys, monkeypatch, form):
    """What is shown can be pasted into a ticket."""
    monkeypatch.setitem(os.environ, "ADL_KAFKA__CLIENT__SASL_PASSWORD", SECRET)
    code, out, err = adl(capsys, "config", "show", *form)
    assert (code, err) == (0, "")
    assert SECRET not in out
    assert "ADL_KAFKA__CLIENT__SASL_PASSWORD" in out


def test_the_command_line_repeats_no_secret(capsys):
    """Not even one that stands in the wrong place."""
    code, out, err = adl(capsys, "config", "show", "--set", f"kafka.client.sasl.password={SECRET}")
    assert code == 2
    assert "sasl.password_file" in err
    assert SECRET not in out + err


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("nonsense=1", 'No such configuration property: "nonsense"'),
        ("ssl.key.pem_env=KEY", "ssl.key.pem"),
        ("socket.timeout.ms_env=KEY", "socket.timeout.ms"),
    ],
)
def test_settings_that_the_client_does_not_take_are_wrong_use(capsys, monkeypatch, flag, sentence):
    """One sentence in the client's own words, but for the secret that it may quote; whichever client is made first."""
    monkeypatch.setitem(os.environ, "KEY", SECRET)
    flags = [f"kafka.client.{flag}", "kafka.client.security.protocol=SSL", "log.level=error"]

    def run():
        with pytest.raises(SystemExit) as ended:
            run_pool(load(flags=flags), lambda: False)
        return ended.value.code, *capsys.readouterr()

    sets = [part for each in flags for part in ("--set", each)]
    for code, out, err in (run(), adl(capsys, "check", *sets), adl(capsys, "topics", "check", *sets)):
        assert (code, out, err.count("\n")) == (Exit.USAGE, "", 1), err
        assert sentence in err
        assert SECRET not in err


def test_a_bug_is_told_without_secrets(capsys, monkeypatch):
    """What a library quotes in an exception that nobody expects; where it happened is told."""
    environ = {"ADL_KAFKA__CLIENT__SASL_PASSWORD": SECRET}
    client_config(load("", environ).kafka, environ)

    def broken(_settings):
        raise RuntimeError(f"it was {SECRET}")

    monkeypatch.setattr(sys.modules["worker.cli.config"], "settings_digest", broken)
    code, _, err = adl(capsys, "config", "show")
    assert code == 1
    assert err.endswith("RuntimeError: it was ***\n")
    assert "in broken" in err
    assert SECRET not in err
