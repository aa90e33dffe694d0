"""Models that a config names: by the name that litellm knows, or with their settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dspy

from dspy_gepa.command.code import is_reference, object_named
from dspy_gepa.command.config_file import KEY_VARIABLE, ConfigFile
from dspy_gepa.errors import SettingsError
from dspy_gepa.models.catching import Failed, catching

__all__ = ["model_of"]


def model_of(config: ConfigFile, argument: str, given: Any) -> Any:
    """The model of a name, of a table of settings, or in code.

    Raises:
        SettingsError: it is none, or its key is not in the environment.
    """
    shown = f"{config.name}: {argument} = {given!r:.200}"
    if is_reference(given):
        return object_named(config, argument, given)
    settings = dict(given) if isinstance(given, Mapping) else {"model": given}
    if not isinstance(settings.get("model"), str) or not settings["model"].strip():
        raise SettingsError(
            f'{shown} was given; the name of a model is needed, "openai/gpt-4.1-mini" for '
            'instance, or a table with it: { model = "openai/gpt-4.1-mini", temperature = 0 }.'
        )
    key = _key(shown, settings)
    made = catching(lambda: dspy.LM(**settings, **key))
    if isinstance(made, Failed):
        raise SettingsError(f"{shown}: {' '.join(str(made.error).split())}")
    return made


def _key(shown: str, settings: dict[str, Any]) -> dict[str, str]:
    """The key, if litellm is not to look for it itself."""
    variable = settings.pop(KEY_VARIABLE, None)
    if variable is not None:
        if not os.environ.get(str(variable)):
            raise SettingsError(f"{shown}: the environment has no variable {variable}.")
        return {"api_key": os.environ[variable]}
    is_own_server = "api_base" in settings and settings["model"].startswith("openai/")
    # A server of one's own mostly wants no key, but the client insists on having one.
    return {"api_key": "none"} if is_own_server and not os.environ.get("OPENAI_API_KEY") else {}
