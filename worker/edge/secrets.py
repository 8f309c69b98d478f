"""What the Kafka client is given: settings with their secrets filled in, and the one place that knows the secrets.

Rule 1: a secret is read here, goes to the client, and never back: `masked` takes it out of whatever is to be shown.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from worker.client_settings import ENV, FILE, base_of, is_secret
from worker.settings import KafkaSettings, SettingError

LINE_MIN: Final = 8  # of a secret's lines; what is shorter tells nothing, and stands in other words
_seen: set[str] = set()  # of this process; longest first when they are taken out


def client_config(kafka: KafkaSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Settings for any client of librdkafka; raises SettingError when a secret is not where the settings say."""
    config = {"bootstrap.servers": kafka.bootstrap}
    for name, value in kafka.client.items():
        base = base_of(name)
        if name.endswith(FILE):
            config[base] = _read(name, Path(str(value)))
        elif name.endswith(ENV):
            config[base] = _not_empty(name, environ.get(str(value), ""), f"variable {value}")
        else:
            config[base] = str(value).lower() if isinstance(value, bool) else str(value)
        if is_secret(base) or base != name:
            _seen.update(_spellings(config[base]))
    return config


def masked(text: str) -> str:
    """The text without any secret this process has read."""
    for secret in sorted(_seen, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _spellings(secret: str) -> set[str]:
    """A secret as others may quote it: as it is, escaped, and, of a key in several lines, each of them."""
    lines = (line.strip() for line in secret.splitlines())
    return {secret, repr(secret)[1:-1], *(line for line in lines if len(line) >= LINE_MIN)}


def _read(name: str, path: Path) -> str:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        # Not the error itself: that of a file which is not text quotes its bytes.
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingError(f"kafka.client: {name} must be a readable file, {path} is not: {reason}") from None
    return _not_empty(name, text.rstrip("\r\n"), f"file {path}")


def _not_empty(name: str, text: str, where: str) -> str:
    if text:
        return text
    raise SettingError(f"kafka.client: {name} must hold something, the {where} does not")
