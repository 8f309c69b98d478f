"""Which settings of the Kafka client an operator may give, and how a secret is named without being told.

Rule 1: what exactly-once and the order of inputs rest on belongs to the worker and is refused.
Rule 2: a secret is named by where it is: `sasl.password_file = "/run/secrets/kafka"`, `sasl.password_env = "VARIABLE"`,
or just the variable ADL_KAFKA__CLIENT__SASL_PASSWORD. No sentence here repeats a value.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

FILE, ENV = "_file", "_env"
# Any of them in a name makes it a secret; a name we do not know is then on the safe side.
_SECRET_WORDS: Final = ("password", "secret", "passphrase", "key.pem", "oauthbearer.config")

_USER_IN_ADDRESS: Final = re.compile(r"://[^/]*@")

_ONE_WRITER: Final = "a pool has one writer, and its id is the pool's"
_NO_GROUP: Final = "partitions are assigned statically, the worker joins no group"
_OFFSETS: Final = "offsets are committed with the outputs, in one transaction"
_NO_JUMP: Final = "a gap in a log must stop the pool, not be jumped over"
_TRANSACTION: Final = "outputs leave in transactions of the worker's own shape"
_LOG: Final = "the client's log tells of a commit whose end is unknown"
OWNED: Final[dict[str, str]] = {
    "bootstrap.servers": "kafka.bootstrap names the brokers",
    "metadata.broker.list": "kafka.bootstrap names the brokers",
    "transactional.id": _ONE_WRITER,
    "enable.idempotence": _ONE_WRITER,
    "transaction.timeout.ms": _TRANSACTION,
    "linger.ms": _TRANSACTION,
    "queue.buffering.max.ms": _TRANSACTION,
    "acks": _TRANSACTION,
    "request.required.acks": _TRANSACTION,
    "max.in.flight": _TRANSACTION,
    "max.in.flight.requests.per.connection": _TRANSACTION,
    "retries": _TRANSACTION,
    "message.send.max.retries": _TRANSACTION,
    "metadata.recovery.strategy": "another one lets a commit hang for ever (librdkafka issue 5456)",
    "statistics.interval.ms": "nobody reads the statistics",
    "log_level": _LOG,
    "log.connection.close": _LOG,
    "group.id": _NO_GROUP,
    "group.instance.id": _NO_GROUP,
    "group.protocol": _NO_GROUP,
    "partition.assignment.strategy": _NO_GROUP,
    "enable.auto.commit": _OFFSETS,
    "auto.commit.enable": _OFFSETS,
    "auto.commit.interval.ms": _OFFSETS,
    "enable.auto.offset.store": _OFFSETS,
    "isolation.level": "what is not committed must not be decided upon",
    "auto.offset.reset": _NO_JUMP,
    "enable.partition.eof": "a partition's end is what a cut waits for",
    "check.crcs": "a damaged record must not be decided upon",
    "sasl.jaas.config": "that is of the Java client; sasl.mechanism, sasl.username and sasl.password say the same",
}


def base_of(name: str) -> str:
    """The librdkafka name of a client setting, whichever way its value is named."""
    return name.removesuffix(FILE).removesuffix(ENV)


def is_secret(name: str) -> bool:
    """Whether a client setting's value is nobody's to see."""
    return any(word in name for word in _SECRET_WORDS)


def refusal(values: Mapping[str, Any]) -> str | None:
    """The first client setting that an operator may not give, and why; None where there is none."""
    for name, value in values.items():
        base = base_of(name)
        if base in OWNED:
            return f"{base} is the worker's own: {OWNED[base]}"
        if base == name and is_secret(name):
            variable = "ADL_KAFKA__CLIENT__" + name.upper().replace(".", "_")
            return f'{name} must not be told here: name a file ({name}_file = "PATH") or set {variable}'
        if isinstance(value, str) and _USER_IN_ADDRESS.search(value):
            return f"{name} must be an address without a user and a password"
        if base != name and not (isinstance(value, str) and value):
            return f"{name} must be the {'path of a file' if name.endswith(FILE) else 'name of a variable'}"
        if sum(other in values for other in (base, base + FILE, base + ENV)) > 1:
            return f"{base} must be given once, as text, {FILE} or {ENV}"
    return None


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Client settings by their dotted names; TOML reads `client.sasl.mechanism = ...` as tables in tables."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def of_variable(words: str, variable: str, text: str) -> tuple[str, str]:
    """The client setting that an environment variable gives; of a secret only the variable's name.

    `words` is what follows ADL_KAFKA__CLIENT__, in small letters.
    """
    for ending in (FILE, ENV):
        base = words.removesuffix(ending).replace("_", ".")
        if words.endswith(ending) and is_secret(base):
            return base + ending, text
    name = words.replace("_", ".")
    return (name + ENV, variable) if is_secret(name) else (name, text)


def put(values: Mapping[str, Any], name: str, value: str) -> dict[str, Any]:
    """Client settings with one more, which wins over the same one however it was named."""
    others = {key: given for key, given in flat(values).items() if base_of(key) != base_of(name)}
    return others | {name: value}
