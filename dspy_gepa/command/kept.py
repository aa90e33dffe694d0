"""The config in a run directory, by which `dspy-gepa resume` goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dspy_gepa.command.config_file import KEY_VARIABLE, ConfigFile, read_config
from dspy_gepa.errors import JournalCorrupt, SettingsError
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.store.credentials import credentials
from dspy_gepa.store.files import write_whole
from dspy_gepa.store.redaction import Redactor

__all__ = ["CONFIG", "KeptConfig", "config_in", "keep"]

CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class KeptConfig:
    """The config that a run was begun with."""

    config: ConfigFile

    @property
    def now(self) -> ConfigFile:
        """The file as it is now, which may have larger limits; as it was if it is gone."""
        path = self.config.path
        return read_config(path, self.config.working_folder) if path.exists() else self.config

    @property
    def is_changed(self) -> bool:
        """Whether the file is another one now."""
        return bool(_plain(self.now.values) != _plain(self.config.values))


def keep(config: ConfigFile, folder: Path) -> None:
    """Keep a config in a run directory.

    Raises:
        JournalError: it cannot be written.
    """
    fields = {
        "config": os.path.relpath(config.path, folder),
        "working_folder": os.path.relpath(config.working_folder, folder),
        "values": _plain(config.values),
    }
    redact = Redactor(credentials(os.environ, {"config": _without_names(config.values)}))
    written = json.dumps(redact.hidden(fields), indent=1)
    write_whole(folder / CONFIG, written.encode())


def _without_names(value: Any) -> Any:
    """A config without the names of variables that hold keys: they are no secrets."""
    if isinstance(value, Mapping):
        return {n: _without_names(each) for n, each in value.items() if n != KEY_VARIABLE}
    return [_without_names(each) for each in value] if isinstance(value, list) else value


def config_in(folder: Path) -> KeptConfig:
    """The config of the run in this directory.

    Raises:
        SettingsError: the run was begun by code.
        JournalCorrupt: something else stands in its place.
    """
    path = folder / CONFIG
    if not path.exists():
        raise SettingsError(
            f"{folder} holds a run that was begun by code, which alone has its program and metric. "
            f"The same call carries it on: GEPA(..., log_dir={str(folder)!r}).compile(...), or "
            f"optimize_anything(..., log_dir={str(folder)!r})."
        )
    fields = catching(
        lambda: Redactor(credentials(os.environ)).shown(json.loads(path.read_bytes()))
    )
    if isinstance(fields, Failed) or not isinstance(fields, Mapping):
        raise JournalCorrupt(f"{path} holds no config. Restore it, or call run with the config.")
    try:
        config, working_folder = (
            Path(os.path.normpath(folder.absolute() / fields[name]))
            for name in ("config", "working_folder")
        )
        return KeptConfig(ConfigFile(config, dict(fields["values"]), working_folder))
    except (LookupError, TypeError, ValueError) as error:
        raise JournalCorrupt(f"{path} holds no config: {error}.") from None


def _plain(value: Any) -> Any:
    """As JSON has it: a date of TOML or YAML as a text."""
    return json.loads(json.dumps(value, default=str))
