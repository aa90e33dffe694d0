"""The tables of a comparison, printed from the files of its cells, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from report import paired_interval

from rivals import AS_GIVEN

__all__ = ["print_task"]

Row = dict[str, Any]
HEADING = (
    "optimizer",
    "seeds",
    "test",
    "minus as given (95 %)",
    "metric calls",
    "task calls",
    "reflection calls",
    "task tokens in, out",
    "reflection tokens in, out",
    "USD",
    "minutes",
    "exceeded or missing",
)
KINDS = {"missing": "missing", "unsuited": "not for it", "problem": "failed"}
"""Why a cell has no score, and how the table calls that."""


def print_task(name: str, rows: Sequence[Row], settings: Mapping[str, Any]) -> None:
    """The table of one task: means over seeds, and what was used and lacked."""
    print(f"\n**{name}**\n")
    seeds: dict[str, list[int]] = {}
    for row in rows:
        own = seeds.setdefault(row.get("origin", "no rows"), [])
        own += [row["seed"]] * (row["seed"] not in own)
    for origin, of_seeds in seeds.items():
        where = f" (seed {', '.join(map(str, of_seeds))})" if len(seeds) > 1 else ""
        print(f"- {origin}{where}")
    print(
        f"- Task model {settings['model']}, reflection model {settings['reflection_model']}, "
        f"budget {settings['budget']} metric calls.\n"
    )
    given = {
        row["seed"]: row["scores"] for row in rows if row["optimizer"] == AS_GIVEN and _has(row)
    }
    notes: dict[str, int] = {}
    lines = [HEADING]
    for optimizer in dict.fromkeys(row["optimizer"] for row in rows):
        own = [row for row in rows if row["optimizer"] == optimizer]
        lines.append(_line(optimizer, own, given, notes))
    print_markdown(lines)
    print()
    for note, number in notes.items():
        print(f"{number}. {note}")


def _line(
    optimizer: str, own: Sequence[Row], given: dict[int, list[float]], notes: dict[str, int]
) -> tuple[object, ...]:
    good = [row for row in own if _has(row)]
    marks = []
    for row in own:
        kind = next((word for name, word in KINDS.items() if row.get(name)), "see")
        for said in filter(None, (*map(row.get, KINDS), *row["notes"])):
            number = notes.setdefault(said, len(notes) + 1)
            marks.append(f"seed {row['seed']}: {kind} {number}")
    if not good:
        return (optimizer, 0, *[""] * (len(HEADING) - 3), ", ".join(marks))
    scores = [fmean(row["scores"]) for row in good]
    test = f"{fmean(scores):.3f}"
    if len(scores) > 1:
        test += f" ({', '.join(f'{score:.2f}' for score in scores)})"
    pairs = [(row["scores"], given[row["seed"]]) for row in good if row["seed"] in given]
    is_given = optimizer == AS_GIVEN
    return (
        optimizer,
        len(good),
        test,
        "" if is_given or not pairs else paired_interval(pairs).signed,
        f"{fmean(row['metric_calls'] for row in good):.0f}",
        *(
            f"{fmean(row[role]['calls'] for row in good):.0f}"
            for role in ("task_lm", "reflection_lm")
        ),
        *(_tokens(good, role) for role in ("task_lm", "reflection_lm")),
        _usd(good),
        f"{fmean(row['minutes'] for row in good):.1f}",
        ", ".join(marks),
    )


def _has(row: Row) -> bool:
    return bool(row.get("scores"))


def _tokens(rows: Sequence[Row], role: str) -> str:
    means = (fmean(row[role][f"tokens_{way}"] for row in rows) for way in ("in", "out"))
    return ", ".join(f"{mean:,.0f}" for mean in means)


def _usd(rows: Sequence[Row]) -> str:
    """The mean cost; at least so much where some calls have no known price."""
    spent = [row[role] for row in rows for role in ("task_lm", "reflection_lm")]
    usd = sum(each["usd"] for each in spent) / len(rows)
    if not any(each["unpriced"] for each in spent):
        return f"{usd:.2f}"
    return f"at least {usd:.2f}" if usd else "no price"


def print_markdown(rows: Sequence[Sequence[object]]) -> None:
    """The rows as a Markdown table whose source is aligned; the first one is the heading."""
    texts = [[str(each).replace("|", "\\|") for each in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    for number, row in enumerate(texts):
        print("| " + " | ".join(map(str.ljust, row, widths)) + " |")
        if not number:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
