"""CONFIG: what a run is asked for, in a file. TOML, JSON or YAML.

Paths in it are relative to it. No key stands in it, because it is committed and passed on.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dspy_gepa.errors import SettingsError
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.store.redaction import names_secret

__all__ = ["KEY_VARIABLE", "ConfigFile", "placed", "read_config", "read_text"]

KEY_VARIABLE = "api_key_env"
"""In a model's table: the variable of the environment that holds its key."""
_PATH = re.compile(r"\S+\.[A-Za-z]\w{0,9}")
"""A name with an ending and no space: a path, and no prompt."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A config that was read."""

    path: Path
    """Of the file, absolute."""
    values: Mapping[str, Any]
    working_folder: Path
    """From where the run was begun: modules are looked for there too."""

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.path.name

    def beside(self, path: str) -> Path:
        """A path of the config; a relative one begins where the config stands."""
        here = os.path.expanduser(path)  # noqa: PTH111 - Path raises where there is no such user
        return Path(self.path.parent, here)

    def is_file(self, text: str) -> bool:
        """Whether a text stands for a file: it looks like a path, or there is such a file."""
        if _PATH.fullmatch(text):
            return True
        # Of a long text the system may say more than that there is no such file.
        return catching(lambda: self.beside(text).is_file()) is True


def read_config(path: Path, working_folder: Path) -> ConfigFile:
    """The config in this file.

    Raises:
        SettingsError: there is none, it cannot be read, or it has a key in it.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise SettingsError(
            f"{path} was given; a config ends in {', '.join(_READERS)}."
            + (" For a run directory there is: dspy-gepa resume." if path.is_dir() else "")
        )
    text = read_text(path)
    values = catching(lambda: reader(text))
    if isinstance(values, Failed):
        if isinstance(values.error, SettingsError):
            raise values.error
        raise SettingsError(f"{path} cannot be read: {' '.join(str(values.error).split())}")
    if not isinstance(values, Mapping) or not values:
        raise SettingsError(f"{path} has no settings in it: it needs names with values.")
    plain = {str(name): value for name, value in values.items()}
    _check_no_key(path.name, plain)
    return ConfigFile(path.absolute(), plain, working_folder.absolute())


@contextlib.contextmanager
def placed(config: ConfigFile, setting: str = "") -> Iterator[None]:
    """Has errors say which setting of which config they come from, where they do not.

    Raises:
        SettingsError: what is raised within, with its place.
    """
    try:
        yield
    except SettingsError as error:
        if config.name in str(error):
            raise
        place = f"{config.name}: {setting}" if setting else config.name
        raise SettingsError(f"{place}: {error}") from error


def read_text(path: Path, encoding: str = "utf-8-sig") -> str:
    """What stands in a text file.

    Raises:
        SettingsError: there is no such file, or it is no text.
    """
    try:
        return path.read_text(encoding)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is no text in UTF-8: {error}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"{path} cannot be read: {reason}.") from None


def _toml(text: str) -> Any:
    # Python has one from 3.11 on. Before, some package of DSPy's mostly brings one.
    return _loader("TOML", "tomllib", "tomli").loads(text)


def _yaml(text: str) -> Any:
    return _loader("YAML", "yaml").safe_load(text)


def _loader(form: str, *modules: str) -> Any:
    for name in filter(importlib.util.find_spec, modules):
        return importlib.import_module(name)
    raise SettingsError(
        f"{form} cannot be read by this Python: none of {', '.join(modules)} is installed. "
        "Install one of them, or write the same settings as JSON."
    )


_READERS: dict[str, Callable[[str], Any]] = {
    ".toml": _toml,
    ".json": json.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
}


def _check_no_key(file: str, values: Mapping[str, Any]) -> None:
    named = [".".join(names) for names in _keys_in(values)]
    if named:
        raise SettingsError(
            f"{file} has {named[0]} in it. Files are committed and passed on, so keys stand in the "
            "environment: OPENAI_API_KEY and the like, or for one model under any name that you "
            f'give, {{ model = "...", {KEY_VARIABLE} = "NAME_OF_THE_VARIABLE" }}.'
        )


def _keys_in(values: Mapping[str, Any], *place: str) -> Iterator[tuple[str, ...]]:
    """Where keys, tokens and passwords stand: at the top, in models and in headers."""
    for name, value in values.items():
        if isinstance(value, str) and names_secret(str(name)) and name != KEY_VARIABLE:
            yield (*place, str(name))
        elif isinstance(value, Mapping) and (place or _may_hold_keys(name)):
            yield from _keys_in(value, *place, str(name))


def _may_hold_keys(name: str) -> bool:
    """Whether its names are settings: those of others are components, which may be called key."""
    return name in ("lm", "config") or name.endswith(("_lm", "_model", "_kwargs", "_settings"))
