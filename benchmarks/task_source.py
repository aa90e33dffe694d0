"""Where the rows of the tasks are read from: a folder of the user's, else the Hugging Face hub."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["DataNotFound", "Found", "Hub", "Source"]

VARIABLE = "DSPY_GEPA_DATA"
Row = dict[str, Any]
Pick = Callable[[Sequence[Row]], Sequence[int]]
"""The numbers of the rows that are taken."""


class DataNotFound(LookupError):
    """The rows of a task are neither in a folder nor on the hub."""


class Found(NamedTuple):
    """Rows, and where they were."""

    rows: list[Row]
    source: str
    is_local: bool


@dataclass(frozen=True)
class Hub:
    """A data set's public name on the hub."""

    name: str
    split: str
    config: str | None = None
    parquet: str | None = None
    """The files of the hub's own conversion, where the data set itself is a script that
    `datasets` no longer runs."""

    def __str__(self) -> str:
        config = f" {self.config}" if self.config else ""
        return f"{self.name}{config}, split {self.split}"

    def rows(self, pick: Pick | None = None) -> list[Row]:
        """The rows of the split; `datasets` keeps them in its cache and obeys HF_HUB_OFFLINE."""
        from datasets import load_dataset  # noqa: PLC0415 - heavy, and needed by no local folder

        if self.parquet is None:
            found = load_dataset(self.name, self.config, split=self.split)
        else:
            # One pattern without a split's name is all of the split "train" to `datasets`.
            files = {"data_files": self.parquet, "revision": "refs/convert/parquet"}
            found = load_dataset(self.name, split="train", **files)
        chosen = range(len(found)) if pick is None else pick(found)
        return [dict(found[number]) for number in chosen]


@dataclass(frozen=True)
class Source:
    """Finds rows: in a folder first, then on the hub."""

    data_dir: Path | None = None
    """The folder of `--data-dir`; without one, that of the variable DSPY_GEPA_DATA."""

    @property
    def folder(self) -> Path | None:
        """The folder that is looked into, if there is one."""
        chosen = self.data_dir or os.environ.get(VARIABLE)
        return Path(chosen).expanduser() if chosen else None

    def find(
        self,
        task: str,
        file: str,
        columns: Sequence[str],
        *,
        elsewhere: Hub | str,
        pick: Pick | None = None,
    ) -> Found:
        """The rows of `file` in the task's folder, or those of the hub.

        `columns` is what each row has at least. `elsewhere` is the data set on the hub or, where
        the hub has none of this form, where people get the file. `pick` says which rows of the
        hub are taken; a file is read whole.

        Raises:
            DataNotFound: they are in neither place; the message says how each would do.
            ValueError: the file or the data set holds other rows than the task reads.
        """
        path = self.folder / task / file if self.folder else None
        if path is not None and path.is_file():
            return Found(read(path, columns), f"the folder's {task}/{file}", is_local=True)
        problem = f"Put the rows into {task}/{file} of a folder, and give that folder with "
        problem += f"--data-dir or {VARIABLE} ("
        problem += f"{path} is no file)" if path else "none was given)"
        if isinstance(elsewhere, str):
            raise DataNotFound(
                f"The rows of {task} were not found. {problem}. The hub has no such data set; the "
                f"rows are public at {elsewhere}."
            )
        try:
            rows = elsewhere.rows(pick)
        except Exception as error:  # datasets raises errors of five libraries
            reason = str(error).strip().partition("\n")[0]
            raise DataNotFound(
                f"The rows of {task} were not found. {problem}; or let the hub serve {elsewhere}: "
                f"install the package datasets and allow the network ({type(error).__name__}: "
                f"{reason})."
            ) from error
        rows = checked(rows, columns, str(elsewhere))
        return Found(rows, f"the hub's {elsewhere}", is_local=False)


def read(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a file, JSON Lines or one JSON value, compressed if its name ends in .gz."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        is_lines = path.suffixes[:1] == [".jsonl"]
        # Only a line feed ends a row: texts may hold other signs that Python splits lines at.
        lines = [line for line in text.split("\n") if line.strip()]
        rows = [json.loads(line) for line in lines] if is_lines else json.loads(text)
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} cannot be read as JSON: {error}. Fetch the file again."
        ) from error
    return checked(rows, columns, str(path))


def checked(rows: Any, columns: Sequence[str], place: str) -> list[Row]:
    """The rows, each of which has all columns; one object is one row."""
    rows = [rows] if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{place} holds no list of rows.")
    for number, row in enumerate(rows, start=1):
        missing = [name for name in columns if not isinstance(row, dict) or name not in row]
        if missing:
            raise ValueError(
                f"Row {number} of {place} has no {', '.join(missing)}: these are not the rows "
                f"that this task reads, which have {', '.join(columns)}."
            )
    return rows
