"""How replies of reflection LMs are read: right, asked again, or wrong.

A corpus is a list of entries: name, components (name to current text), reply, what is wanted, and
what else is fine. Wanted is {"texts": {component: text}}, {"no_change": true} or {"ask": true}.
Wrong is what counts: a text that nobody meant enters the program, and asking costs one call more.

- right: the reader did what is wanted;
- also fine: it did something else that the entry allows;
- asked again: it asks, though the reply could have been read;
- wrong: it took another text, or none, without asking.

A reader that asks about some components and has good texts for others counts as asking: nothing
enters the program before the repair is read.

    python benchmarks/replies.py --show wrong
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from report import print_table, surroundings, write_record

from dspy_gepa.reflect.reply import read_reply

VERDICTS = ("right", "also fine", "asked again", "wrong")
CORPORA = tuple(
    Path(__file__).with_name(f"reply_shapes{number}.json")
    for number in ("", "_2", "_3", "_4", "_5", "_6")
)


class Judged(NamedTuple):
    """What became of one reply."""

    name: str
    verdict: str
    outcome: Mapping[str, Any]
    """In the words of the corpus."""


def outcome(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What our reader makes of a reply."""
    reading = read_reply(entry["reply"], entry["components"])
    if reading.problems:
        return {"ask": True}
    if reading.is_unchanged:
        return {"no_change": True}
    return {"texts": dict(reading.texts)}


def judged(entry: Mapping[str, Any], made: Mapping[str, Any]) -> Judged:
    """The verdict on what was made of an entry's reply."""
    if made == entry["wanted"]:
        verdict = "right"
    elif made in entry.get("also_fine", ()):
        verdict = "also fine"
    else:
        verdict = "asked again" if "ask" in made else "wrong"
    return Judged(entry["name"], verdict, made)


def main(given: Sequence[str] | None = None) -> None:
    """Print the counts of each corpus, and the entries of the verdicts that are to be shown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("corpora", nargs="*", type=Path, default=list(CORPORA))
    parser.add_argument("--show", nargs="+", choices=VERDICTS, default=[])
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args(given)
    rows: list[list[object]] = [["corpus", "replies", *VERDICTS]]
    record: dict[str, Any] = {"benchmark": "replies", **surroundings("dspy_gepa"), "corpora": {}}
    for corpus in arguments.corpora:
        entries = json.loads(corpus.read_text("utf-8"))
        found = [judged(entry, outcome(entry)) for entry in entries]
        counts = Counter(each.verdict for each in found)
        rows.append([corpus.name, len(found), *(counts[verdict] for verdict in VERDICTS)])
        record["corpora"][corpus.name] = {each.name: each.verdict for each in found}
        for each in found:
            if each.verdict in arguments.show:
                print(f"{each.verdict}: {each.name}: {json.dumps(each.outcome)[:300]}")
    print_table(rows)
    write_record(arguments.json, record)


if __name__ == "__main__":
    main()
