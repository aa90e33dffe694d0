"""What the sections of a page show, in the order in which they show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from shlex import quote

from dspy_gepa.story.diff import Change, changes_between
from dspy_gepa.story.parts import AnswerStory, ComponentStory, Spending
from dspy_gepa.story.story import MemberStory, Pair, ProposalStory, Story
from dspy_gepa.story.verdict import (
    SURE,
    chance_of,
    objectives_in_words,
    paired_in_words,
    seen_in_words,
)
from dspy_gepa.story.wording import (
    amount,
    clock,
    counted,
    first_line,
    listed,
    moment,
    money,
    sentences,
    took,
)

__all__ = ["PageRows"]

_STATUS = {
    "under way": "Under way",
    "finished": "Finished",
    "stopped": "Stopped early",
    "broke": "Broke down",
    "died": "Not finished, and no process is at it",
}
_COLUMNS = (
    ("rollouts", "program runs"),
    ("metric_calls", "metric calls"),
    ("reflection_calls", "reflection calls"),
    ("prompt_tokens", "tokens in"),
    ("completion_tokens", "tokens out"),
    ("total_tokens", "tokens"),
    ("usd", "USD"),
    ("unpriced_calls", "calls without a known price"),
    ("seconds", "time worked"),
)


class PageRows:
    """Rows made from a story. All texts are as they were written."""

    def __init__(self, story: Story) -> None:
        self.story = story

    @property
    def title(self) -> str:
        """What the page is called."""
        return self.story.name or "a run"

    @property
    def status(self) -> str:
        """How it stands, in words."""
        return _STATUS[self.story.status]

    @property
    def tone(self) -> str:
        """Whether the verdict is good news: "better", "worse" or "unsure"."""
        comparison, checked = self.story.comparison, self.story.check.kind
        if checked != "not checked":
            return checked if checked in {"better", "worse"} else "unsure"
        is_sure = comparison is not None and chance_of(comparison, len(self.story.members)) <= SURE
        return "better" if is_sure else "unsure"

    @property
    def attempts(self) -> int:
        """How many attempts at a new candidate there were."""
        return sum(each.kind in {"rewrite", "merge"} for each in self.story.proposals)

    @property
    def kept(self) -> int:
        """How many of them became members."""
        return max(0, len(self.story.members) - 1)

    @property
    def folder(self) -> str:
        """The run directory's name, as a shell takes it."""
        return quote(self.story.name)

    @property
    def versions(self) -> str:
        """Of what the run was made with."""
        return ", ".join(f"{name} {version}" for name, version in self.story.versions.items())

    @property
    def when(self) -> str:
        """When it ran, as far as that is recorded."""
        story = self.story
        if story.began_at is None:
            return "times were not recorded"
        took = "" if story.seconds is None else f", {clock(story.seconds)} of running"
        sessions = len(story.sessions)
        again = f", in {counted(sessions, 'session')}" if sessions > 1 else ""
        return f"began {moment(story.began_at)}{took}{again}"

    @property
    def price(self) -> str:
        """What it cost in money, in words."""
        return money(self.story.total)

    @property
    def seed(self) -> MemberStory | None:
        """The program as it was."""
        return self.story.members[0] if self.story.members else None

    @property
    def returned(self) -> MemberStory | None:
        """The member that is handed over; None if that is the seed, or where there is none."""
        number = self.story.returned
        return self.story.members[number] if number else None

    @property
    def standing(self) -> str:
        """What the member that is compared with the seed is."""
        story = self.story
        is_open = story.status == "under way"
        return "Returned" if story.has_outcome else "Best so far" if is_open else "Best"

    @property
    def changes(self) -> Sequence[Change]:
        """The texts in which the returned member differs from the seed."""
        if self.seed is None or self.returned is None:
            return ()
        return changes_between(self.seed.texts, self.returned.texts)

    @property
    def unchanged(self) -> Sequence[ComponentStory]:
        """Components that are as they were."""
        changed = {change.component for change in self.changes}
        return [each for each in self.story.components if each.name not in changed]

    @cached_property
    def steps(self) -> Sequence[ProposalStory]:
        """The proposals that led from the seed to what is returned, the first one first."""
        members, waiting = self.story.members, {self.story.returned or 0}
        made: set[int] = set()
        while waiting:
            number = waiting.pop()
            if members and number and number not in made:
                made.add(number)
                waiting |= {*members[number].parents}
        return [self.story.proposals[members[number].proposal] for number in sorted(made)]

    @property
    def told(self) -> Sequence[ProposalStory]:
        """The proposal that made what is returned, and the latest one, if reflections said why."""
        made = [each for each in self.steps if each.diagnosis or each.lesson][-1:]
        latest = [each for each in self.story.proposals if each.diagnosis or each.lesson][-1:]
        return made + [each for each in latest if each not in made]

    def kept_by(self, proposal: ProposalStory) -> str:
        """On how many examples it rests that a proposal was kept, in words."""
        parts = (("minibatch", proposal.gate), ("first validation", proposal.validation))
        said = [f"{name}: {words}" for name, pairs in parts if (words := self.gated(pairs))]
        return "; ".join(said)

    def opening(self, text: str, most: int = 600) -> str:
        """The beginning of what a reflection said, not cut within a sentence."""
        return sentences(text, most)

    def goes_on(self, text: str, opening: str) -> bool:
        """Whether there is more of it than this beginning."""
        return " ".join(text.split()) != opening

    def why(self, proposal: ProposalStory) -> str:
        """What its reflection said goes wrong, or of its change."""
        return proposal.diagnosis or proposal.lesson

    @property
    def is_without_reasons(self) -> bool:
        """Whether no reflection on the way said why."""
        return not any(step.diagnosis or step.lesson for step in self.steps)

    def length(self, text: str) -> str:
        """How long a text is."""
        return f"{counted(len(text.split()), 'word')} ({counted(len(text), 'character')})"

    def characters(self, member: MemberStory) -> int:
        """How long all texts of a member are."""
        return sum(map(len, member.texts.values()))

    def numbers(self, numbers: Sequence[int]) -> tuple[str, ...]:
        """As words."""
        return tuple(map(str, numbers))

    def seen(self, member: MemberStory) -> str:
        """What was really seen of a member."""
        return seen_in_words(member)

    def estimated(self, member: MemberStory) -> str:
        """The estimate of a member's score, with its range.

        That of the seed holds the truth in 95 % of runs. Another member was chosen by what is seen,
        so that its range is an estimate as well: see `benchmarks/interval_coverage.py`.
        """
        if member.estimate is None or member.low is None or member.high is None:
            return "–"
        surely = "estimate" if member.number else "95 %"
        return f"{member.estimate:.2f} ({surely}: {member.low:.2f} to {member.high:.2f})"

    @property
    def paired(self) -> str:
        """Seed and returned member on what both were run on, in words."""
        comparison = self.story.comparison
        return "" if comparison is None else paired_in_words(comparison)

    @property
    def is_run_apart(self) -> bool:
        """Whether seed and returned member were run on different examples."""
        one, two = self.seed, self.returned
        return one is not None and two is not None and one.answers.keys() != two.answers.keys()

    @property
    def objectives(self) -> str:
        """What became of objectives, in words."""
        comparison = self.story.comparison
        return "" if comparison is None else objectives_in_words(comparison)

    @property
    def chance(self) -> str:
        """How often chance alone would show as much, in words."""
        comparison = self.story.comparison
        if comparison is None or not comparison.better:
            return ""
        chance = chance_of(comparison, len(self.story.members))
        share = "less than 1 %" if chance < 0.01 else f"up to {chance:.0%}".replace("%", " %")
        tried = len(self.story.members) - 1
        if tried == 1:
            return (
                "If the one member beside the seed were no better, it would look at least this "
                f"much better in {share} of runs (one-sided sign test)."
            )
        return (
            f"If none of the {tried} members beside the seed were any better, the most successful "
            f"of them would look at least this much better in {share} of runs (one-sided sign "
            "test, corrected for the number of members)."
        )

    def gated(self, pairs: Sequence[Pair]) -> str:
        """A child beside its parent, in words."""
        both = [(p.before, p.after) for p in pairs if p.before is not None and p.after is not None]
        if not both:
            return ""
        better = sum(after > before for before, after in both)
        worse = sum(after < before for before, after in both)
        return f"{better} better, {worse} worse, {len(both) - better - worse} same"

    def origin(self, proposal: ProposalStory) -> str:
        """What a proposal is made from, in words."""
        parents = listed(tuple(map(str, proposal.parents)))
        return {
            "seed": "the program as it was",
            "rewrite": f"rewrite of member {parents}",
            "merge": f"merge of members {parents}",
            "revalidation": f"member {parents} on more examples",
        }[proposal.kind]

    def outcome(self, proposal: ProposalStory) -> str:
        """What became of a proposal, in a word or two."""
        if proposal.member is not None:
            return f"kept as member {proposal.member}"
        return proposal.verdict or f"under way: {proposal.phase}"

    def reason(self, proposal: ProposalStory) -> str:
        """Why, shortly; what it says of its change where it was kept."""
        return first_line(proposal.lesson if proposal.member is not None else proposal.reason)

    @cached_property
    def refusals(self) -> Mapping[str, int]:
        """Why reflections gave no usable text, and how often."""
        counts: dict[str, int] = {}
        for proposal in self.story.proposals:
            if proposal.verdict == "failed":
                reason = first_line(proposal.reason)
                counts[reason] = counts.get(reason, 0) + 1
        return counts

    def sort(self, proposal: ProposalStory) -> str:
        """Its verdict, but for the validation of the seed, which is no attempt."""
        return "the seed" if proposal.kind == "seed" else proposal.verdict or "under way"

    def verdicts(self) -> Mapping[str, int]:
        """How many proposals came to each verdict."""
        counts: dict[str, int] = {}
        for proposal in self.story.proposals:
            verdict = self.sort(proposal)
            counts[verdict] = counts.get(verdict, 0) + 1
        return counts

    @property
    def cost_columns(self) -> Sequence[tuple[str, str]]:
        """Units in which anything was spent, each with its heading."""
        total = self.story.total
        # Some models report only the sum.
        is_split = total.prompt_tokens + total.completion_tokens == total.total_tokens
        hidden = {"total_tokens"} if is_split else set()
        return [
            (unit, heading)
            for unit, heading in _COLUMNS
            if getattr(total, unit) and unit not in hidden
        ]

    def cell(self, spending: Spending, unit: str) -> str:
        """One amount of a table of costs."""
        value = getattr(spending, unit)
        if unit == "seconds":
            return clock(value)
        return f"{value:,.4g}" if unit == "usd" else f"{value:,}"

    def effort(self, answer: AnswerStory) -> str:
        """What an answer took, as far as that is known."""
        parts = [] if answer.seconds is None else [took(answer.seconds)]
        if answer.prompt_tokens or answer.completion_tokens:
            parts.append(f"{answer.prompt_tokens:,} tokens in, {answer.completion_tokens:,} out")
        elif answer.total_tokens:
            parts.append(amount(answer.total_tokens, "total_tokens"))
        if answer.usd:
            parts.append(amount(answer.usd, "usd"))
        return ", ".join(parts)

    def share(self, spending: Spending) -> float:
        """Of the money if it is known, else of the tokens, the metric calls or the rollouts."""
        total = self.story.total
        for unit in ("usd", "total_tokens", "metric_calls", "rollouts"):
            if whole := getattr(total, unit):
                return float(getattr(spending, unit) / whole)
        return 0.0

    @property
    def share_of(self) -> str:
        """What shares are parts of."""
        total = self.story.total
        names = {"usd": "USD", "total_tokens": "tokens", "metric_calls": "metric calls"}
        return next((name for unit, name in names.items() if getattr(total, unit)), "runs")

    @property
    def advice(self) -> str:
        """What a person can do to carry the run on, or to use it."""
        return {
            "under way": "It is still under way: this page shows it as it was when it was written.",
            "finished": "",
            "stopped": "The same call with the same log_dir carries it on.",
            "broke": "When the cause is mended, the same call with the same log_dir carries it on.",
            "died": "The same call with the same log_dir carries it on; what was paid for is kept.",
        }[self.story.status]
