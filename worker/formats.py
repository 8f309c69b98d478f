"""How the bytes of each topic become messages: JSON, MessagePack, or a foreign format through an adapter.

Rule 1: an adapter is a pure function of one record, `adapter(record) -> messages`, named `module:function` in settings;
worker/adapters/ holds examples. It never sees a null value.
Rule 2: what an adapter gives passes the same checks as a record of ours, and whatever it raises is a refusal.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module

from schemas import Encoding, InputMessage, Reason, Refused, decode, encode
from worker.record import Record
from worker.settings import SettingError, Settings

Adapter = Callable[[Record], Iterable[InputMessage]]
Decode = Callable[[Record], list[InputMessage]]

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")  # another one in each process, and a sentence is part of an output
_TEXT_CHARS_MAX = 200


def decoders(settings: Settings) -> dict[str, Decode]:
    """For each input topic what makes messages of a record, or raises Refused; raises SettingError."""
    found: dict[str, Decode] = {}
    for topic in {topic for topics in settings.input.topics.values() for topic in topics}:
        form = settings.format.topics.get(topic, "json")
        if form == "json":
            found[topic] = _of_json
        elif form == "msgpack":
            found[topic] = _of_msgpack
        else:
            found[topic] = partial(adapted, form, adapter_of(form))
    return found


def encodings(settings: Settings) -> dict[str, Encoding]:
    """The encoding of each output, by its logical name."""
    forms = settings.format.topics
    return {
        name.replace("_", "-"): "msgpack" if forms.get(getattr(settings.output, name)) == "msgpack" else "json"
        for name in settings.output.__struct_fields__
    }


def adapter_of(name: str) -> Adapter:
    """The function that `module:function` names; raises SettingError."""
    module, _, function = name.partition(":")
    try:
        adapter: Adapter = getattr(import_module(module), function)
    except ImportError as error:
        raise SettingError(f"format.topics: the module of {name} must be importable: {error}") from None
    except AttributeError:
        raise SettingError(f"format.topics: {module} must have the function {function} of {name}") from None
    if not callable(adapter):
        raise SettingError(f"format.topics: {name} must be a function")
    return adapter


def adapted(name: str, adapter: Adapter, record: Record) -> list[InputMessage]:
    """The messages of one foreign record; raises Refused, and nothing else."""
    try:
        # Through our own encoding: types, names and limits are checked as if the exchange had sent it in ours.
        messages = [encode(message) for message in adapter(record)]
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001  somebody else's code on somebody else's bytes; the loop must go on
        text = _ADDRESS.sub("0x...", str(error))[:_TEXT_CHARS_MAX]
        what = f"{name} raised {type(error).__name__}" + (f": {text}" if text else "")
        raise Refused(Reason.DECODE, f"a record must be what its adapter understands; {what}") from None
    return decode(b"[" + b",".join(messages) + b"]")


def _of_json(record: Record) -> list[InputMessage]:
    return _some(decode(record.value or b""))


def _of_msgpack(record: Record) -> list[InputMessage]:
    return _some(decode(record.value or b"", "msgpack"))


def _some(messages: list[InputMessage]) -> list[InputMessage]:
    """What a record of ours says; an adapter may pass over a foreign one, nobody means an empty array."""
    if not messages:
        raise Refused(Reason.DECODE, "an array of messages must not be empty")
    return messages
