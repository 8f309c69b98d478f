"""The Kafka client's settings: what passes through, what is refused, and that no secret can be shown."""

import msgspec
import pytest

from worker.settings import SettingError, load, settings_digest, to_toml, to_values

SECRET = "hunter2-Xy"  # noqa: S105  a made-up one
FILE = """
[kafka]
bootstrap = "a.example:9093,b.example:9093"
client.security.protocol = "SASL_SSL"
client."ssl.ca.location" = "/etc/ssl/ca.pem"
client.socket.keepalive.enable = true
client.reconnect.backoff.max.ms = 5000
client."sasl.password_file" = "/run/secrets/kafka"
"""


def test_client_settings_pass_through_by_their_dotted_names():
    """Quoted or as TOML's tables in tables, from file, environment and flags."""
    environ = {"ADL_KAFKA__CLIENT__SASL_USERNAME": "adl", "ADL_KAFKA__CLIENT__SASL__MECHANISM": "PLAIN"}
    settings = load(FILE, environ, ["kafka.client.security.protocol=SSL", "kafka.bootstrap=c:9092"])
    assert settings.kafka.bootstrap == "c:9092"
    assert settings.kafka.client == {
        "security.protocol": "SSL",
        "ssl.ca.location": "/etc/ssl/ca.pem",
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 5000,
        "sasl.password_file": "/run/secrets/kafka",
        "sasl.username": "adl",
        "sasl.mechanism": "PLAIN",
    }
    assert load(to_toml(settings)) == settings


def test_how_the_brokers_are_reached_changes_no_output():
    """Another password or broker is the same worker."""
    assert settings_digest(load(FILE)) == settings_digest(load())


@pytest.mark.parametrize(
    ("environ", "setting"),
    [
        ({"ADL_KAFKA__CLIENT__SASL_PASSWORD": SECRET}, ("sasl.password_env", "ADL_KAFKA__CLIENT__SASL_PASSWORD")),
        ({"ADL_KAFKA__CLIENT__SASL_PASSWORD_FILE": "/f"}, ("sasl.password_file", "/f")),
        ({"ADL_KAFKA__CLIENT__SASL_PASSWORD_ENV": "PW"}, ("sasl.password_env", "PW")),
        ({"ADL_KAFKA__CLIENT__SSL_KEY_PEM": SECRET}, ("ssl.key.pem_env", "ADL_KAFKA__CLIENT__SSL_KEY_PEM")),
    ],
)
def test_a_secret_is_named_by_where_it_is(environ, setting):
    """The settings know the variable or the file, never what is in it; the environment wins over the file's way."""
    settings = load('kafka.client."ssl.key.pem_file" = "/k"\nkafka.client."sasl.password_file" = "/p"', environ)
    assert setting in settings.kafka.client.items()
    assert len(settings.kafka.client) == 2
    for shown in (to_toml(settings), repr(settings), msgspec.json.encode(to_values(settings)).decode()):
        assert SECRET not in shown


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("group.id", "joins no group"),
        ("transactional.id", "a pool has one writer"),
        ("isolation.level", "must not be decided upon"),
        ("auto.offset.reset", "must stop the pool"),
        ("enable.auto.commit", "committed with the outputs"),
        ("bootstrap.servers", "kafka.bootstrap names the brokers"),
        ("metadata.recovery.strategy", "hang for ever"),
        ("sasl.jaas.config", "that is of the Java client"),
        ("group.id_file", "joins no group"),
        ("log_level", "a commit whose end is unknown"),
        ("log.connection.close", "a commit whose end is unknown"),
    ],
)
def test_what_the_worker_must_own_is_refused_with_its_reason(name, because):
    """Exactly-once and the order of inputs are not for a setting to break."""
    with pytest.raises(SettingError, match=because) as error:
        load(flags=[f"kafka.client.{name}={SECRET}"])
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("file", "environ", "flags"),
    [
        (f'kafka.client."sasl.password" = "{SECRET}"', {}, []),
        (f'kafka.client.sasl.password = "{SECRET}"', {}, []),
        ("", {}, [f"kafka.client.ssl.key.password={SECRET}"]),
        (f'kafka.client = "{SECRET}"', {}, []),
        (f'kafka = "{SECRET}"', {}, []),
        (f'kafka.bootstrap = "user:{SECRET}@host:9092"', {}, []),
        ("", {}, [f"kafka.client.sasl.oauthbearer.token.endpoint.url=https://adl:{SECRET}@id.example/token"]),
        (f'kafka.client."sasl.username" = ["{SECRET}"]', {}, []),
        (f'kafka.client."sasl.password_file" = ["{SECRET}"]', {}, []),
        (f'kafka.client."sasl.password_file" = "/f"\nkafka.client."sasl.password_env" = "{SECRET}"', {}, []),
        ("", {"ADL_KAFKA__SASL_PASSWORD": SECRET}, []),
        ("", {"ADL_KAFKA__CLIENT": SECRET}, []),
        ("", {"ADL_KAFKA__BOOTSTRAP": SECRET}, []),
        (f'kafka = "{SECRET}"', {"ADL_KAFKA__BOOTSTRAP": "b:1"}, []),
        (f'kafka.client = "{SECRET}"', {"ADL_KAFKA__CLIENT__DEBUG": "all"}, []),
        ("", {}, [f"kafka.client.sasl.password:{SECRET}"]),
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(file, environ, flags):
    """The sentence that refuses it would otherwise carry it into a log."""
    with pytest.raises(SettingError) as error:
        load(file, environ, flags)
    assert SECRET not in str(error.value)
