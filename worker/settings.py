"""What an operator may set: TOML file < environment `ADL_SECTION__KEY` < flags `section.key=value`.

Rule 1: a wrong setting is refused with its name and what is allowed; an unknown one is never ignored.
Rule 2: this file is pure; the caller hands it the file's text and the environment.
Rule 3: no secret is ever in the settings, only where it is found; so nothing that shows them can show one.
"""

import difflib
import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, get_args, get_type_hints

import msgspec

from worker import client_settings
from worker.hints import allowed as allowed_by
from worker.hints import plain, takes
from worker.sections import (
    KINDS,
    NEVER_IN_AN_OUTPUT,
    SECTIONS,
    DecisionSettings,
    Fraction,
    HealthSettings,
    KafkaSettings,
    Policy,
    RankSettings,
    ReductionSettings,
    Section,
    Settings,
    Settlement,
    SnapshotSettings,
    StateSettings,
)
from worker.tiers import tiers_of

__all__ = [
    "KINDS",
    "SECTIONS",
    "DecisionSettings",
    "HealthSettings",
    "KafkaSettings",
    "Policy",
    "RankSettings",
    "ReductionSettings",
    "SettingError",
    "Settings",
    "Settlement",
    "SnapshotSettings",
    "StateSettings",
    "allowed",
    "from_values",
    "load",
    "settings_digest",
    "state_settings_digest",
    "to_toml",
    "to_values",
]


class SettingError(ValueError):
    """A setting that is wrong; the message names it and says what is allowed."""


ENVIRONMENT_PREFIX: Final = "ADL_"
CLIENT: Final = ["kafka", "client"]
COLLATERAL: Final = ["pool", "collateral"]
# Settings with one underscore between. Other names are not ours: Kubernetes sets ADL_WORKER_SERVICE_HOST and the like.
_MISSPELT: Final = {
    "_".join(("ADL", section, *key)).upper()
    for section, kind in SECTIONS.items()
    for key in ((), *((field,) for field in kind.__struct_fields__))
}


def load(toml: str = "", environ: Mapping[str, str] | None = None, flags: Iterable[str] = ()) -> Settings:
    """Settings of a file's text, an environment and flags `section.key=value`, later ones winning.

    Raises SettingError.
    """
    try:
        values: dict[str, Any] = tomllib.loads(toml, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"the settings file must be TOML: {error}") from None
    for name, text in sorted((environ or {}).items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            path = name[len(ENVIRONMENT_PREFIX) :].lower().split("__")
            if path[:2] == CLIENT and len(path) > 2:
                setting, text = client_settings.of_variable("_".join(path[2:]), name, text)
                path = [*CLIENT, setting]
            elif path[:2] == COLLATERAL and len(path) > 2:
                path[2:] = ["__".join(name[len(ENVIRONMENT_PREFIX) :].split("__")[2:])]  # a currency, as it is spelt
            elif len(path) > 2:  # a topic's or a kind's name, which the environment cannot spell
                path[2:] = ["-".join(path[2:]).replace("_", "-")]
            _put(values, path, text, origin=name)
        elif name in _MISSPELT:
            raise SettingError(f"{name} must name a section and a key with two underscores between: ADL_SECTION__KEY")
    for flag in flags:
        setting, equals, text = flag.partition("=")
        if not equals:
            raise SettingError(f"a flag must be section.key=value, was {_shown(flag, flag)}")
        _put(values, setting.strip().split("."), text.strip(), origin=flag)
    return from_values(values)


def from_values(values: Mapping[str, Any]) -> Settings:
    """Settings of nested plain values; raises SettingError with the first wrong one."""
    made: dict[str, Any] = {}
    for section, given in values.items():
        cls = _section(section)
        if not isinstance(given, Mapping):
            raise SettingError(f"{section} must be a section with keys, was {_shown(section, given)}")
        hints = get_type_hints(cls, include_extras=True)
        fields = {key: _field(f"{section}.{key}", value, hints) for key, value in given.items()}
        made[section] = cls(**fields)
    settings = Settings(**made)
    _check_outputs(settings)
    _check_formats(settings)
    _check_collateral(settings)
    _check_tiers(settings)
    return settings


def settings_digest(settings: Settings) -> str:
    """Digest of all that can change an output; how the brokers are reached, and logs, cannot."""
    values = to_values(settings)
    for section in NEVER_IN_AN_OUTPUT:
        del values[section]
    return _digest_of(values)


def state_settings_digest(settings: Settings) -> str:
    """Digest of all that a state rests on which was made by applying what was published; what only decides does not."""
    values = to_values(settings)
    for section in (*NEVER_IN_AN_OUTPUT, "worker", "ranks", "reductions"):
        del values[section]
    values["decision"] = {name: values["decision"][name] for name in ("policy", "settlement")}
    return _digest_of(values)


def _digest_of(values: dict[str, Any]) -> str:
    return hashlib.blake2b(msgspec.json.encode(values, order="deterministic"), digest_size=16).hexdigest()


def to_values(settings: Settings) -> dict[str, Any]:
    """Settings as nested plain values, which `from_values` takes back."""
    values: dict[str, Any] = msgspec.to_builtins(settings)
    return values


def to_toml(settings: Settings) -> str:
    """Settings as a TOML file, which `load` takes back; what is null stands as a comment."""
    lines: list[str] = []
    for section, values in to_values(settings).items():
        lines.append(f"[{section}]")
        for key, value in values.items():
            if isinstance(value, dict):
                lines += [f"{key}.{_toml(name)} = {_toml(item)}" for name, item in value.items()]
            else:
                lines.append(f"# {key} is null" if value is None else f"{key} = {_toml(value)}")
        lines.append("")
    return "\n".join(lines)


def allowed(setting: str) -> str:
    """What `section.key` may be, in words."""
    section, _, key = setting.partition(".")
    return allowed_by(get_type_hints(_section(section), include_extras=True)[key])


def _toml(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _section(section: str) -> type[Section]:
    if section not in SECTIONS:
        raise SettingError(f"{section} is not a section{_near(section, SECTIONS)}")
    return SECTIONS[section]


def _near(name: str, names: Iterable[str]) -> str:
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names)}"


def _field(setting: str, value: Any, hints: Mapping[str, Any]) -> Any:
    key = setting.rpartition(".")[2]
    if key not in hints:
        raise SettingError(f"{setting} is not a setting{_near(key, hints)}")
    if setting.split(".") == CLIENT and isinstance(value, Mapping):
        value = client_settings.flat(value)
        if sentence := client_settings.refusal(value):
            raise SettingError(f"{setting}: {sentence}")
    try:
        made = msgspec.convert(value, hints[key])
    except (msgspec.ValidationError, ArithmeticError):
        raise SettingError(f"{setting} must be {allowed_by(hints[key])}, was {_shown(setting, value)}") from None
    # msgspec bounds no decimals, and NaN passes every comparison that is written the wrong way round.
    if isinstance(made, Decimal):
        top = 1 if Fraction in get_args(hints[key]) else Decimal("1e30")
        if not (made.is_finite() and 0 < made <= top):
            raise SettingError(f"{setting} must be {allowed_by(hints[key])}, was {value}")
        return Decimal(f"{made.normalize():f}")  # equal values give equal digests
    return made


def _check_outputs(settings: Settings) -> None:
    """Raises SettingError where an output would go to an input, and be read as one, or to another output's topic."""
    taken = {topic: f"input.topics.{kind}" for kind, topics in settings.input.topics.items() for topic in topics}
    for name, topic in to_values(settings)["output"].items():
        if topic in taken:
            raise SettingError(f"output.{name} must be a topic of its own, {topic} is that of {taken[topic]}")
        taken[topic] = f"output.{name}"


def _check_formats(settings: Settings) -> None:
    """Raises SettingError for a format of a topic that is not there, or an adapter where nothing is read."""
    inputs = {topic for topics in settings.input.topics.values() for topic in topics}
    outputs = set(to_values(settings)["output"].values())
    for topic, form in settings.format.topics.items():
        if topic not in inputs | outputs:
            raise SettingError(f"format.topics.{topic} is not a topic{_near(topic, sorted(inputs | outputs))}")
        if topic not in inputs and ":" in form:
            raise SettingError(f'format.topics.{topic} must be "json" or "msgpack", for it is an output, was {form!r}')


def _check_tiers(settings: Settings) -> None:
    try:
        tiers_of(settings.reductions.tiers)
    except ValueError as error:
        raise SettingError(f"reductions.tiers {error}") from None


def _check_collateral(settings: Settings) -> None:
    """Raises SettingError where the pool's own currency is to be converted, or one symbol converts two currencies."""
    converting: dict[str, str] = {}
    for currency, symbol in sorted(settings.pool.collateral.items()):
        if currency == settings.pool.currency:
            raise SettingError(f"pool.collateral.{currency} must not be there: it is the pool's own currency")
        if symbol in converting:
            raise SettingError(
                f"pool.collateral.{currency} must be another symbol than that of {converting[symbol]}, was {symbol!r}"
            )
        converting[symbol] = currency


def _shown(setting: str, value: Any) -> str:
    """A wrong value as a sentence may quote it: not at all where it may be a secret in the wrong place."""
    return "something else" if setting.startswith("kafka") else repr(value)


def _put(values: dict[str, Any], path: list[str], text: str, origin: str) -> None:
    section, key = path[0], path[1] if len(path) > 1 else ""
    hints = get_type_hints(_section(section), include_extras=True)
    if key not in hints:
        raise SettingError(f"{origin.partition('=')[0]} is not a setting{_near(key, hints)}")
    target = values.setdefault(section, {})
    if not isinstance(target, dict):
        return  # `from_values` says what it must be
    if path[:2] == CLIENT:
        name, given = ".".join(path[2:]), target.get(key, {})
        if not name or not isinstance(given, dict):
            raise SettingError(f"kafka.client must be {allowed('kafka.client')}")
        target[key] = client_settings.put(given, name, text)
    elif takes(hints[key], dict):
        entries, name = target.setdefault(key, {}), ".".join(path[2:])
        if section == "input":
            entries[name.replace("_", "-")] = [part.strip() for part in text.split(",")]
        else:
            entries[name] = text
    elif len(path) > 2:
        raise SettingError(f"{origin.partition('=')[0]} is not a setting; {section}.{key} has no parts")
    else:
        target[key] = plain(text, hints[key])
