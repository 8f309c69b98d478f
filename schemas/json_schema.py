"""The JSON Schema of every message, for readers who do not write Python; `python -m schemas.json_schema` rewrites it.

It is made of `messages.py` alone and checked in, so that a change of the wire is seen in review as a change of a file.
"""

from pathlib import Path
from typing import Any, get_args

import msgspec

from schemas.messages import InputMessage, OutputMessage

FILE = Path(__file__).with_name("schema.json")


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one message: `$defs/Input`, `$defs/Output`, and one definition per struct."""
    inputs, outputs = get_args(InputMessage), get_args(OutputMessage)
    _, definitions = msgspec.json.schema_components((*inputs, *outputs), ref_template="#/$defs/{name}")

    def one_of(structs: tuple[type, ...]) -> dict[str, Any]:
        return {"oneOf": [{"$ref": f"#/$defs/{struct.__name__}"} for struct in structs]}

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Messages of the auto-deleveraging worker",
        "oneOf": [{"$ref": "#/$defs/Input"}, {"$ref": "#/$defs/Output"}],
        "$defs": {"Input": one_of(inputs), "Output": one_of(outputs), **dict(sorted(definitions.items()))},
    }


def schema_text() -> str:
    """The file's text: the same bytes for the same structs."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    FILE.write_text(schema_text(), encoding="utf-8")
