"""What is media among the values that programs and metrics handle, and how it is turned over.

A trace holds `Media`, of `values.media`, in place of DSPy's objects. They become objects again for
a model, for a user's proposer and for a metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import dspy

from dspy_gepa.values.foreign import entered, str_of
from dspy_gepa.values.media import Media, without_base64

__all__ = ["captured", "content_parts", "media_kind", "revived", "spoken"]

_MEDIA_PARTS = frozenset(
    {"image_url", "input_image", "input_audio", "video_url", "file", "input_file"}
)
"""Content parts of OpenAI's chat format, which DSPy's types give, that are more than text."""
_KEPT = 128
"""Media that is known to be the same when it is met again: more than one reflection shows."""
_PLAIN = (str, bytes, bool, int, float)


def media_kind(value: object) -> str:
    """What kind of media it is; empty for everything else.

    One of "image", "audio" and "file", or "attachment" for a user's own type that is sent as such.
    """
    if isinstance(value, Media):
        return value.kind
    if not isinstance(value, dspy.Type):
        return ""
    named = {dspy.Image: "image", dspy.Audio: "audio", dspy.File: "file"}
    kind_name = next((name for kind, name in named.items() if isinstance(value, kind)), "")
    return kind_name or ("attachment" if _has_media_parts(value) else "")


def captured(value: Any) -> Any:
    """The value with `Media` in place of DSPy's images, audio and files, also in containers.

    The very same object where it holds none. Media of a user's own type stays as it is, also of
    one that is made from DSPy's.
    """
    return _converted(value, _as_media, ())


def revived(value: Any) -> Any:
    """The value with DSPy's objects in place of `Media`; the very same object where none is in it.

    What was captured comes back equal.
    """
    return _converted(value, _as_object, ())


def content_parts(value: Any) -> list[dict[str, Any]]:
    """The media as content parts of a chat message, as DSPy itself writes them."""
    parts = revived(value).format()
    return list(parts) if isinstance(parts, list) else [{"type": "text", "text": str(parts)}]


def spoken(value: object) -> str:
    """What `str` says about the value, with a short description in place of media."""
    if media_kind(value) == "attachment":
        return f"({type(value).__name__})"
    return without_base64(str_of(captured(value)))


def _has_media_parts(value: Any) -> bool:
    try:
        parts = value.format()
    except (NotImplementedError, ValueError):
        return False
    if not isinstance(parts, list):
        return False
    kinds = [part.get("type") for part in parts if isinstance(part, Mapping)]
    return not _MEDIA_PARTS.isdisjoint(kinds)


def _converted(value: Any, convert: Callable[[Any], Any], within: tuple[int, ...]) -> Any:
    """The value with every leaf converted; containers are made anew only if one changed.

    A container that holds itself has itself in there as it was.
    """
    if isinstance(value, _PLAIN) or value is None:
        return value
    if type(value) not in (dict, list, tuple):
        return convert(value)
    inside = entered(value, within)
    if inside is None:
        return value
    if type(value) is dict:
        fields = {name: _converted(item, convert, inside) for name, item in value.items()}
        return fields if any(fields[name] is not item for name, item in value.items()) else value
    items = [_converted(item, convert, inside) for item in value]
    changed = any(new is not old for new, old in zip(items, value, strict=True))
    return type(value)(items) if changed else value


def _as_media(value: Any) -> Any:
    # These alone: a user's own kind of image would not come back as such.
    return _media_of(value) if type(value) in (dspy.Image, dspy.Audio, dspy.File) else value


@lru_cache(maxsize=_KEPT)
def _media_of(value: Any) -> Media:
    """The very same value for equal objects.

    So an image that several traces show is shown once in a prompt, and is in memory once.
    """
    if isinstance(value, dspy.Image):
        return Media("image", value.url)
    if isinstance(value, dspy.Audio):
        return Media("audio", f"data:audio/{value.audio_format};base64,{value.data}")
    return Media("file", value.file_data or "", value.filename or "", value.file_id or "")


def _as_object(value: Any) -> Any:
    if not isinstance(value, Media):
        return value
    if value.kind == "image":
        return dspy.Image(url=value.uri)
    if value.kind == "audio":
        mime, _, content = value.uri.partition(";base64,")
        return dspy.Audio(data=content, audio_format=mime.removeprefix("data:audio/"))
    return dspy.File(
        file_data=value.uri or None, filename=value.name or None, file_id=value.file_id or None
    )
