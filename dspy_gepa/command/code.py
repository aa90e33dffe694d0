"""What a config names in code: `module:name`, or `file.py:name`."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from dspy_gepa.command.config_file import ConfigFile
from dspy_gepa.errors import SettingsError
from dspy_gepa.models.catching import Failed, catching

__all__ = ["called", "is_reference", "object_named", "open_folders"]

_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_REFERENCE = re.compile(rf"(?:(?P<file>.+\.py)|(?P<module>{_NAME})):(?P<name>{_NAME})")


def is_reference(text: object) -> bool:
    """Whether a text names something in code."""
    return isinstance(text, str) and _REFERENCE.fullmatch(text) is not None


def open_folders(config: ConfigFile) -> None:
    """Let modules be found beside the config, and where the run was begun."""
    for folder in (config.working_folder, config.path.parent):
        _open(folder)


def _open(folder: Path) -> None:
    """Have modules sought there first, as Python does in the folder of a script."""
    sys.path[:] = [str(folder), *(each for each in sys.path if each != str(folder))]


def object_named(config: ConfigFile, argument: str, text: object) -> Any:
    """What a text names.

    Raises:
        SettingsError: it names nothing, or what it names cannot be imported.
    """
    found = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise SettingsError(
            f"{config.name}: {argument} = {text!r:.200} was given; "
            '"module:name" or "file.py:name" is needed.'
        )
    place, value = found["file"] or found["module"], found["name"]
    shown = f"{config.name}: {argument} = {text!r}"
    loaded: Any
    if found["file"]:
        loaded = _of_file(shown, config.beside(place))
    else:
        loaded = _of_module(shown, config, place)
    for part in value.split("."):
        holder = loaded
        loaded = catching(lambda holder=holder, part=part: getattr(holder, part))  # type: ignore[misc]
        if isinstance(loaded, Failed):
            raise SettingsError(f"{shown}: {_absent(place, holder, part, loaded.error)}")
    return loaded


def called(config: ConfigFile, argument: str, text: object, function: Any) -> Any:
    """What a function of the user's makes that needs no arguments.

    Raises:
        SettingsError: it raised.
    """
    made = catching(function)
    if isinstance(made, Failed):
        raise SettingsError(f"{config.name}: {argument} = {text!r} raised {_in_words(made.error)}")
    return made


def _of_module(shown: str, config: ConfigFile, name: str) -> ModuleType:
    # A file that was named before has put its own folder first.
    open_folders(config)
    loaded = catching(lambda: importlib.import_module(name))
    if not isinstance(loaded, Failed):
        return loaded
    error = loaded.error
    if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
        folder = config.path.parent
        files = {path.stem: path.name for path in sorted(folder.glob("*.py"))}
        near = difflib.get_close_matches(name, files, n=1)
        hint = f" Is {files[near[0]]} meant?" if near else ""
        raise SettingsError(
            f"{shown}: there is no module {error.name!r} in {folder}, in {config.working_folder} "
            f"or among what is installed.{hint}"
        )
    raise SettingsError(f"{shown}: importing it raised {_in_words(error)}")


def _of_file(shown: str, path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        names = [each.name for each in sorted(path.parent.glob("*.py"))]
        near = difflib.get_close_matches(path.name, names, n=1)
        hint = f" Is {near[0]} meant?" if near else ""
        raise SettingsError(f"{shown}: there is no file {path}.{hint}")
    known = sys.modules.get(path.stem)
    if known is not None and _is_at(known, path):
        return known
    _open(path.parent)
    # Under its own name, by which the processes of a pool import it, unless that is taken.
    name = path.stem
    is_own = catching(lambda: _is_at(importlib.util.find_spec(name), path))
    if known is not None or is_own is not True:
        name = f"{name}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        if name in sys.modules:
            return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    loader = spec.loader
    loaded = catching(lambda: loader.exec_module(module))
    if isinstance(loaded, Failed):
        del sys.modules[name]
        raise SettingsError(f"{shown}: importing it raised {_in_words(loaded.error)}")
    return module


def _is_at(found: object, path: Path) -> bool:
    """Whether a module, or what is known of one, is this file."""
    origin = getattr(found, "__file__", None) or getattr(found, "origin", None)
    return bool(origin) and Path(cast("str", origin)).resolve() == path


def _absent(place: str, holder: object, part: str, error: Exception) -> str:
    if not isinstance(error, AttributeError):
        return f"reading {part!r} raised {_in_words(error)}"
    names = [name for name in dir(holder) if not name.startswith("_")]
    near = difflib.get_close_matches(part, names, n=3)
    hint = f" The nearest names: {', '.join(map(repr, near))}." if near else ""
    return f"{place} has no {part!r}.{hint}"


def _in_words(error: Exception) -> str:
    """An error of the user's code in one line, with the place where it arose."""
    said = " ".join(str(error).split())
    words = f"{type(error).__name__}: {said}" if said else type(error).__name__
    steps = traceback.extract_tb(error.__traceback__)
    # The first step is where we made the call; one with wrong arguments has no other.
    own = [each for each in steps[1:] if not each.filename.startswith("<frozen")][-1:]
    if isinstance(error, SyntaxError) or not own:
        return f"{words}."
    return f"{words} ({Path(own[0].filename).name}, line {own[0].lineno})."
