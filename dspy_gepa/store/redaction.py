"""What must not reach a disk: keys, tokens, passwords.

A setting is judged by its name and by its look. A secret that is known is replaced by a reference
in every text, wherever it turned up.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

from dspy_gepa.values.plain import Json, dumps

__all__ = ["Redactor", "names_password", "names_secret", "public"]

REMOVED = "[removed]"

_SECRET_WORDS = frozenset(
    {
        *("apikey", "key", "keys", "secret", "secrets", "token"),
        *("password", "passwd", "pwd", "credential", "credentials"),
        *("auth", "authorization", "bearer", "cookie", "header", "headers"),
        *("pass", "passphrase", "passcode", "pat", "jwt", "otp", "sas", "sig", "sk", "webhook"),
        *("private", "pw", "creds", "dsn", "mnemonic", "hmac", "privkey"),
    }
)
"""A name that has one of these words in it names a secret. `max_tokens` has none of them."""
_PASSWORDS = ("password", "passwd", "passphrase", "passcode")
"""How a name ends that names what people choose themselves, which may be short."""
_SECRET_ENDINGS = ("password", "passwd", "secret", "token", "apikey", "accesskey", "secretkey")
"""So does a name with a word that ends like this: `PGPASSWORD`, `authtoken`."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LOOKS_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|ghp|gho|ghs|github_pat|glpat|xox[a-z]|AKIA|ASIA|AIza|ya29|key)"
    r"[-_.]?[A-Za-z0-9_\-.]{16,}|\bBearer\s+\S{8,}|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"
)
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")
_QUERY_IN_URL = re.compile(r"(\w+://[^\s?#]+)[?#]\S*")
_SHORTEST_SECRET = 6
"""Characters. What is shorter stands in other texts by chance."""
_MARK = "[secret:"
"""How a reference begins."""
_REFERENCE = re.compile(r"\[secret:(:|([\w.-]+)\])")
_NO_NAME = re.compile(r"[^\w.-]+")


def public(settings: Mapping[str, object]) -> dict[str, Json]:
    """The settings that may be written down: plain values under names that name no secret.

    Whatever is not plain (a function, a client) is left out. In a text, what looks like a key is
    removed, and so are user, password and query of an address.
    """
    shown = {}
    for name, value in settings.items():
        if not names_secret(str(name)) and _is_plain(value):
            shown[str(name)] = _public_value(value)
    return shown


class Redactor:
    """Puts references in place of known secrets in what is about to be written, and back again.

    A reference names where the secret comes from, so that whoever reads it where the same secret is
    known has the text as it was. What looks like a reference in a text is told apart from one.

    Args:
        secrets: Name to secret; see `credentials`.
    """

    def __init__(self, secrets: Mapping[str, str] = MappingProxyType({})) -> None:
        named: dict[str, str] = {}
        for name, secret in secrets.items():
            if len(secret) >= _SHORTEST_SECRET:
                named.setdefault(secret, _NO_NAME.sub("_", name))
        # Names are made plain, and then two may be one: that leads nowhere.
        count = Counter(named.values())
        self._known = {name: secret for secret, name in named.items() if count[name] == 1}
        self._names = named
        self._names_as_json = {dumps(secret)[1:-1]: name for secret, name in named.items()}

    def concerns(self, text: str) -> bool:
        """Whether a JSON text may have in it what `hidden` would change."""
        return _MARK in text or any(map(text.__contains__, self._names_as_json))

    @staticmethod
    def has_references(line: bytes) -> bool:
        """Whether a JSON text may have in it what `shown` would change."""
        return _MARK.encode() in line

    def hidden(self, value: Json) -> Json:
        """The value without secrets in any of its texts."""
        return _mapped(self._hidden, value)

    def shown(self, value: Json) -> Json:
        """The value with secrets in place of references, as far as they are known."""
        return _mapped(self._shown, value)

    def hidden_text(self, text: str) -> str:
        """A whole file's text without secrets, as they are and as JSON writes them."""
        return _replaced(text, {**self._names, **self._names_as_json})

    def shown_json(self, text: str) -> str:
        """The text of a JSON file with secrets in place of references, as far as they are known."""
        known = {name: dumps(secret)[1:-1] for name, secret in self._known.items()}
        return _REFERENCE.sub(lambda match: _resolved(match, known), text)

    def _hidden(self, text: str) -> str:
        return _replaced(text, self._names)

    def _shown(self, text: str) -> str:
        if _MARK not in text:
            return text
        return _REFERENCE.sub(lambda match: _resolved(match, self._known), text)


def names_secret(name: str) -> bool:
    """Whether what has this name is a secret, by the words of the name."""
    words = [word.lower() for word in _WORD.findall(name)]
    return any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS) for word in words)


def names_password(name: str) -> bool:
    """Whether what has this name is a password, by how the name ends."""
    words = [word.lower() for word in _WORD.findall(name)]
    return bool(words) and words[-1].endswith(_PASSWORDS)


def _mapped(change: Callable[[str], str], value: Json) -> Json:
    """The value with every text in it changed, names included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(change, item) for item in value]
    if isinstance(value, dict):
        return {change(name): _mapped(change, item) for name, item in value.items()}
    return value


def _replaced(text: str, names: Mapping[str, str]) -> str:
    """The text with references in place of secrets, given their names.

    In one go: a secret may be a part of another one, or of what stands in its place.
    """
    # Longest first, because one may be the beginning of another.
    sought = "|".join(map(re.escape, [_MARK, *sorted(names, key=lambda secret: -len(secret))]))
    return re.sub(sought, lambda match: f"{_MARK}{_ending(names.get(match[0]))}", text)


def _ending(name: str | None) -> str:
    return ":" if name is None else f"{name}]"


def _resolved(match: re.Match[str], known: Mapping[str, str]) -> str:
    return _MARK if match[1] == ":" else known.get(match[2], match[0])


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
