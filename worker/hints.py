"""What a setting's type allows, in words, and which value a text stands for."""

from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta


def plain(text: str, hint: Any) -> Any:
    """The value a text stands for; a text that stands for none comes back as it was and is refused by its field."""
    for kind in (type(None), bool, int):
        if takes(hint, kind):
            try:
                return msgspec.convert(text, kind, strict=False)
            except msgspec.ValidationError:
                continue
    return text


def takes(hint: Any, kind: type) -> bool:
    """Whether a type takes values of a plain kind."""
    if get_origin(hint) is Annotated:
        return takes(get_args(hint)[0], kind)
    return kind in (hint, get_origin(hint)) or (
        get_origin(hint) is not Literal and any(takes(part, kind) for part in get_args(hint))
    )


def allowed(hint: Any) -> str:
    """What a type allows: the words of its Meta, or its values."""
    if get_origin(hint) is Annotated:
        words = [meta.description for meta in hint.__metadata__ if isinstance(meta, Meta) and meta.description]
        return words[0] if words else allowed(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in get_args(hint))
    if get_origin(hint) is dict:
        return f"lists of names for {', '.join(get_args(get_args(hint)[0]))}"
    if hint is bool:
        return "true or false"
    return allowed(get_args(hint)[0])  # T | None
