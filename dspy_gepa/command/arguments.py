"""From the settings of a config to the arguments of the function that they are named after."""

from __future__ import annotations

import collections.abc
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import dspy

from dspy_gepa.command.code import called, is_reference, object_named
from dspy_gepa.command.config_file import ConfigFile, placed, read_text
from dspy_gepa.command.examples import as_examples, rows_given
from dspy_gepa.command.models import model_of
from dspy_gepa.compat.names import check_names
from dspy_gepa.errors import SettingsError
from dspy_gepa.improvement.config import example_list

__all__ = ["annotations_of", "argument", "check_known", "is_none", "program_of"]

MODELS = frozenset({"lm", "reflection_lm", "prompt_model", "task_model"})
EXAMPLE_ARGUMENTS = frozenset({"trainset", "valset", "heldout", "must_pass"})
ROWS = frozenset({"dataset", "valset", "testset"})
_MEANT = {
    "lm": ("model",),
    "program": ("student", "module"),
    "artifact": ("seed_candidate",),
    "heldout": ("testset", "test_set"),
    "testset": ("test_set", "heldout"),
    "save": ("output", "output_file", "save_path"),
    "inputs": ("input_keys",),
}
"""Settings of a config, and what they are called in calls or elsewhere."""


def annotations_of(*functions: Callable[..., Any]) -> dict[str, Any]:
    """Every argument that can be named, with its annotation."""
    return {
        name: hints[name]
        for function in functions
        for hints in [get_type_hints(function)]
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    }


def check_known(config: ConfigFile, known: Iterable[str]) -> None:
    """Nothing, if every setting is one of these.

    Raises:
        SettingsError: one is not. Says which is meant, or the nearest.
    """
    names = list(known)
    for name in config.values:
        ours = [each for each in names if name in _MEANT.get(each, ())]
        if name not in names and ours:
            raise SettingsError(f"{config.name}: {name!r} is called {ours[0]!r} here.")
    check_names(config.values, names, config.name)


def argument(config: ConfigFile, name: str, annotation: Any, *, of_program: bool) -> Any:
    """The value of a setting, as the function takes it.

    Raises:
        SettingsError: what it names cannot be found.
    """
    with placed(config, f"{name} = {config.values[name]!r:.200}"):
        return _argument(config, name, annotation, of_program=of_program)


def _argument(config: ConfigFile, name: str, annotation: Any, *, of_program: bool) -> Any:
    given = config.values[name]
    if is_none(given) and not {NoneType, Any}.isdisjoint(_leaves(annotation)):
        return None
    if name in MODELS:
        return model_of(config, name, given)
    if name in (EXAMPLE_ARGUMENTS if of_program else ROWS):
        if of_program:
            return as_examples(config, name, given)
        return example_list(name, rows_given(config, name, given))
    if name == "teacher":
        several = given if isinstance(given, list) else [given]
        teachers = [program_of(config, name, each) for each in several]
        return teachers if several is given else teachers[0]
    return _plain_argument(config, name, annotation)


def _plain_argument(config: ConfigFile, name: str, annotation: Any) -> Any:
    given = config.values[name]
    if name == "references":
        return _references(config, given)
    if name == "artifact":
        return _with_code(config, name, _from_files(config, given))
    if _is_text(annotation):
        return _with_texts(config, given)
    return _with_code(config, name, given)


def program_of(config: ConfigFile, name: str, given: Any) -> dspy.Module:
    """The program of this name, or the one that is made by what has it.

    Raises:
        SettingsError: it is neither.
    """
    found = object_named(config, name, given)
    if isinstance(found, type) and issubclass(found, dspy.Signature):
        raise SettingsError(
            f"{config.name}: {name} = {given!r} is a dspy.Signature, and a dspy.Module is needed. "
            f"Wrap it there: program = dspy.Predict({found.__name__})."
        )
    if not isinstance(found, dspy.Module) and callable(found):
        _check_takes_nothing(f"{config.name}: {name} = {given!r}", found)
        found = called(config, name, given, found)
    if not isinstance(found, dspy.Module):
        raise SettingsError(
            f"{config.name}: {name} = {given!r} is a {type(found).__name__}; a dspy.Module is "
            "needed, or a function or class that makes one without arguments."
        )
    return found


def _check_takes_nothing(shown: str, function: Callable[..., Any]) -> None:
    """Nothing, if it can be called without arguments, or it is not known what it takes."""
    try:
        inspect.signature(function).bind()
    except ValueError:
        return
    except TypeError as error:
        raise SettingsError(
            f"{shown} cannot make a program: {error}. A dspy.Module is needed, or a function or "
            "class that makes one without arguments."
        ) from None


def is_none(given: Any) -> bool:
    """Whether a value stands for None, which TOML cannot write."""
    return given is None or given == "none"


def _is_text(annotation: Any) -> bool:
    """Whether an argument is made of texts: in it, `a:b` names nothing in code."""
    return str in (leaves := {*_leaves(annotation)}) and leaves <= {str, bool, NoneType}


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types of which an annotation is made, without containers and alternatives."""
    origin = get_origin(annotation)
    if origin is Literal:
        yield from map(type, get_args(annotation))
    elif origin is None or origin is collections.abc.Callable:
        yield origin or annotation
    else:
        for each in get_args(annotation):
            yield from _leaves(each)


def _with_code(config: ConfigFile, name: str, given: Any) -> Any:
    """The value with what it names in code, alone or in a list, and with texts from files."""
    if isinstance(given, list):
        return [_with_code(config, name, each) for each in given]
    return object_named(config, name, given) if is_reference(given) else _with_texts(config, given)


def _with_texts(config: ConfigFile, given: Any) -> Any:
    """The value with what stands in a file in place of `{ file = "..." }`."""
    if isinstance(given, list):
        return [_with_texts(config, each) for each in given]
    if not isinstance(given, Mapping):
        return given
    if _names_file(given):
        return read_text(config.beside(given["file"]), "utf-8")
    return {key: _with_texts(config, value) for key, value in given.items()}


def _names_file(given: Any) -> bool:
    return isinstance(given, Mapping) and [*given] == ["file"] and isinstance(given["file"], str)


def _from_files(config: ConfigFile, given: Any) -> Any:
    """An artifact that is named by its file."""
    if isinstance(given, str) and config.is_file(given):
        return {"file": given}
    if isinstance(given, Mapping) and not _names_file(given):
        return {name: _from_files(config, value) for name, value in given.items()}
    return given


def _references(config: ConfigFile, given: Any) -> Any:
    """The paths of files, or names with texts."""
    if isinstance(given, list):
        return [_references(config, each) for each in given]
    path = given["file"] if _names_file(given) else given
    return str(config.beside(path)) if isinstance(path, str) else _with_texts(config, path)
