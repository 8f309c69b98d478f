"""Secrets: read from files and variables, handed to the client, taken out of everything that is shown."""

import json
import os

import pytest
import structlog
from confluent_kafka import Producer

from tests.worker.test_cli import adl
from worker.edge import secrets
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
