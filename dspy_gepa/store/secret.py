"""What must not reach a disk: keys, tokens, passwords.

A setting is judged by its name and by its look; a key that the caller names is taken out of every
text, wherever it turned up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from dspy_gepa.store.plain import Json, dumps

__all__ = ["Redactor", "public"]

REMOVED = "[removed]"

_SECRET_WORDS = frozenset(
    {
        *("apikey", "key", "keys", "secret", "secrets", "token"),
        *("password", "passwd", "pwd", "credential", "credentials"),
        *("auth", "authorization", "bearer", "cookie", "header", "headers"),
    }
)
"""A name that has one of these words in it names a secret. `max_tokens` has none of them."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LOOKS_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|ghp|gho|ghs|github_pat|glpat|xox[a-z]|AKIA|ASIA|AIza|ya29|key)"
    r"[-_.]?[A-Za-z0-9_\-.]{16,}|\bBearer\s+\S{8,}|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"
)
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")
_QUERY_IN_URL = re.compile(r"(\w+://[^\s?#]+)[?#]\S*")
_SHORTEST_SECRET = 12
"""Characters: stand-ins such as "none" or "not-needed" must not be cut out of other texts."""


def public(settings: Mapping[str, object]) -> dict[str, Json]:
    """The settings that may be written down: plain values under names that name no secret.

    Whatever is not plain (a function, a client) is left out. In a text, what looks like a key is
    removed, and so are user, password and query of an address.
    """
    shown = {}
    for name, value in settings.items():
        if not _names_secret(str(name)) and _is_plain(value):
            shown[str(name)] = _public_value(value)
    return shown


class Redactor:
    """Takes known secrets out of texts that are about to be written."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        long = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        # Longest first, because one may be the beginning of another; and as JSON writes them.
        self._secrets = sorted(long | {dumps(s)[1:-1] for s in long}, key=lambda s: (-len(s), s))

    def __call__(self, text: str) -> str:
        """The text without them."""
        for secret in self._secrets:
            text = text.replace(secret, REMOVED)
        return text


def _names_secret(name: str) -> bool:
    return bool(_SECRET_WORDS & {word.lower() for word in _WORD.findall(name)})


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, Mapping, list, tuple))


def _public_value(value: object) -> Json:
    if isinstance(value, Mapping):
        return public(value)
    if isinstance(value, (list, tuple)):
        return [_public_value(item) for item in value if _is_plain(item)]
    if isinstance(value, str):
        text = _LOOKS_SECRET.sub(REMOVED, _USER_IN_URL.sub("", value))
        return _QUERY_IN_URL.sub(r"\1", text)
    return value
