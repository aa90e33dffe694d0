"""The prompt keeps its limit, its instruction and its failing records, and is deterministic."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspy_gepa.core.rollout import Step
from dspy_gepa.reflect.prompt import (
    EvidenceLimits,
    PromptContext,
    TooLong,
    render,
    split_shared,
)
from dspy_gepa.reflect.records import EvidenceRecord
from dspy_gepa.reflect.templates import DIAGNOSIS, REMARKS, TRANSCRIPTION, Template


def numbered(number, *fields, **others):
    """A call with its number."""
    return number, Step(*fields, **others)


PLAIN = Template("{{instruction}}\n\n{{examples}}")


def rendered(records, *, limit=48_000, template=DIAGNOSIS, **context):
    """The prompt's text, or that it would be too long."""
    limits = EvidenceLimits(prompt_characters=limit)
    found = render(records, PromptContext(**context), template=template, limits=limits)
    return found if isinstance(found, TooLong) else found.text


LINES = st.lists(st.sampled_from(["Labels mail.", "Fields: mail", "Tools: search"]), min_size=1)


@given(st.dictionaries(st.sampled_from("abc"), LINES.map("\n".join)))
def test_the_lines_with_which_several_descriptions_begin_are_said_once(descriptions):
    """A signature that five components share takes the room of one. Nothing of any is lost, and
    what is said of one component alone stays with its name."""
    shared, own = split_shared(descriptions)
    whole = {name: f"{shared}\n{own[name]}" if shared else own[name] for name in descriptions}
    assert {name: each.rstrip("\n") for name, each in whole.items()} == descriptions
    firsts = [each.split("\n")[0] for each in own.values()]
    if len(firsts) > 1:
        assert len(set(firsts)) > 1 or "" in firsts
    else:
        assert shared == ""


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
texts = st.one_of(
    st.text(max_size=60), st.builds(lambda text, n: text * n, st.text(), st.integers(0, 900))
)


@st.composite
def records(draw):
    """Records as `records_of` orders them."""
    made = []
    for example in range(draw(st.integers(0, 8))):
        calls = tuple(
            numbered(
                number,
                draw(st.sampled_from("ab")),
                draw(st.dictionaries(st.text(max_size=8), st.one_of(values, texts), max_size=3)),
                draw(st.dictionaries(st.text(max_size=8), values, max_size=2)),
                failure=draw(st.sampled_from(["", "no field"])),
                reply=draw(texts),
            )
            for number in draw(st.lists(st.integers(1, 9), unique=True, max_size=3).map(sorted))
        )
        made.append(
            EvidenceRecord(
                example,
                draw(st.sampled_from([0.0, 0.5, 1.0])),
                passed=draw(st.booleans()),
                feedback=draw(texts),
                failure=draw(st.sampled_from(["", "crash"])),
                calls=calls,
                calls_made=9,
            )
        )
    return sorted(made, key=lambda one: one.passed)


def record(place, *, passed=False, size=20, **more):
    return EvidenceRecord(
        place,
        1.0 if passed else 0.0,
        passed=passed,
        feedback=f"F{place:03}.",
        calls=(numbered(1, "label", {"text": "x" * size}, {"label": "y"}),),
        calls_made=1,
        **more,
    )


@settings(deadline=None, max_examples=60)
@given(records(), st.text(max_size=200), texts, st.integers(4_000, 12_000))
def test_the_prompt_keeps_its_limit_and_its_instruction(found, instruction, description, limit):
    """A prompt is never longer than its limit and always contains the whole instruction."""
    prompt = rendered(found, instruction=instruction, description=description, limit=limit)
    if not isinstance(prompt, TooLong):
        assert len(prompt) <= limit
        if instruction.strip():
            assert instruction in prompt


@given(
    st.lists(st.integers(0, 3_000), min_size=1, max_size=20),
    st.lists(st.integers(0, 3_000), max_size=20),
    st.integers(4_000, 40_000),
)
@settings(deadline=None, max_examples=60)
def test_failing_records_are_kept_before_any_passing_one(failing, passing, limit):
    """A passing record is shown only where every failing one is; some example always is."""
    made = [record(place, size=size) for place, size in enumerate(failing)]
    made += [record(100 + place, size=size, passed=True) for place, size in enumerate(passing)]
    prompt = rendered(made, instruction="I", template=PLAIN, limit=limit)
    shown = [one.feedback in prompt for one in made]
    assert shown == sorted(shown, reverse=True)
    assert shown[0]
    assert len(prompt) <= limit
    left_out = len(made) - sum(shown)
    assert (f"[... {left_out:,} examples left out ...]" in prompt) == (left_out > 0)


@settings(deadline=None, max_examples=30)
@given(records())
def test_the_same_records_give_the_same_prompt(found):
    """Rendering is a function of its arguments."""
    assert rendered(found, instruction="I") == rendered(list(found), instruction="I")


def test_one_record_in_words():
    """A record shows inputs, outputs and feedback, and what failed with the raw reply."""
    found = EvidenceRecord(
        7,
        0.25,
        passed=False,
        feedback="Say K3.",
        failure="no label",
        calls=(
            numbered(1, "label", {"text": "hi\nho", "tags": ["x"]}, {"label": "K1", "note": ""}),
            numbered(4, "label", {}, {}, failure="field label is missing", reply="K three"),
        ),
        calls_made=5,
    )
    done = EvidenceRecord(
        8,
        1.0,
        passed=True,
        calls=(numbered(1, "label", {"text": "x"}, {"label": "K2"}),),
        calls_made=1,
    )
    crash = EvidenceRecord(9, 0.0, passed=False, failure="KeyError")
    assert rendered([found, crash, done], instruction="Label it.", template=PLAIN) == (
        "Label it.\n\n"
        "## Example 1: score 0.25, to be improved\n\n"
        '### Call 1 of 5\n\nInput:\ntext:\nhi\nho\ntags: ["x"]\n\n'
        "Output:\nlabel: K1\nnote: (empty)\n\n"
        "[... 2 calls left out ...]\n\n"
        "### Call 4 of 5\n\nInput:\n(nothing)\n\n"
        "Output: not usable. field label is missing\n\nWhat was written instead:\nK three\n\n"
        "[... 1 calls left out ...]\n\n"
        "The program gave no answer: no label\n\nFeedback:\nSay K3.\n\n"
        "## Example 2: score 0, to be improved\n\n"
        "The program failed before it reached this step.\n\n"
        "The program gave no answer: KeyError\n\nFeedback:\n(none)\n\n"
        "## Example 3: score 1, right\n\nInput:\ntext: x\n\nOutput:\nlabel: K2\n\nFeedback:\n(none)"
    )


def test_a_failed_call_without_a_reply_shows_only_why():
    """No raw reply, no paragraph about it."""
    found = EvidenceRecord(
        1,
        0.0,
        passed=False,
        calls=(numbered(1, "label", {"a": 1}, {}, "timeout"),),
        calls_made=1,
    )
    shown = rendered([found], instruction="I", template=PLAIN)
    assert "Output: not usable. timeout\n\nFeedback" in shown


def test_what_was_said_stands_apart_and_last_in_the_order_of_the_examples():
    """Where a template has a place for it. Not of what is right, which teaches no rule."""

    def said(feedback, *, score=0.0):
        calls = (numbered(1, "label", {"text": "x"}, {"label": "K2"}),)
        return EvidenceRecord(
            1, score, passed=score == 1, feedback=feedback, calls=calls, calls_made=1
        )

    found = [said("Say K3."), said("Say K1,\nin capitals."), said("Fine.", score=1)]
    prompt = rendered(found, instruction="I", template=TRANSCRIPTION)
    assert f"{REMARKS}\n\n- Say K3.\n- Say K1,\nin capitals.\n\nWrite the instr" in prompt
    assert prompt.index("## Example 3: score 1, right") < prompt.index(REMARKS)
    assert "Output:\nlabel: K2\n\nFeedback:\nFine." in prompt
    silent = rendered([said("")], instruction="I", template=TRANSCRIPTION)
    assert REMARKS not in silent
    assert "Feedback:\n(none)" in silent
    assert "label: K2\n\nFeedback:\nSay K3.\n" in rendered(found, instruction="I")


def test_an_output_is_called_wrong_only_where_nothing_else_can_be():
    """Small models take outputs for what is wanted; of several steps any may be at fault."""
    call = numbered(1, "label", {"text": "x"}, {"label": "K2"})
    alone = EvidenceRecord(1, 0.5, passed=False, calls=(call,), calls_made=1)
    for found, is_called_wrong in (
        (alone, True),
        (replace(alone, passed=True), False),
        (replace(alone, calls=(call, (2, call[1])), calls_made=2), False),
        (replace(alone, turns=(Step("other", {}, {}), 1)), False),
    ):
        assert ("Wrong output:\n" in rendered([found], instruction="I")) == is_called_wrong


def test_an_input_that_grows_call_by_call_is_shown_once():
    """What an input repeats of the call before is referred to and not shown again."""
    start = "thought " * 40
    calls = tuple(
        numbered(number, "label", {"trajectory": start + grown, "question": "why"}, {"next": "x"})
        for number, grown in enumerate(["", "then A", "then A then B"], start=1)
    )
    prompt = rendered(
        [EvidenceRecord(1, 0.0, passed=False, calls=calls, calls_made=3)],
        instruction="I",
        template=PLAIN,
    )
    assert prompt.count("thought ") == 40
    assert "[... 320 characters as in the call before ...]then A\n" in prompt
    assert "[... 326 characters as in the call before ...] then B\n" in prompt
    assert prompt.count("question: why") == 3


def test_values_are_cut_before_failing_records_are_left_out():
    """Ten failing records with large values are all shown, each with its feedback."""
    made = [record(place, size=20_000) for place in range(10)]
    prompt = rendered(made, instruction="I")
    assert all(one.feedback in prompt for one in made)
    assert "characters left out ...]" in prompt
    assert "examples left out" not in prompt


def test_a_record_of_many_fields_leaves_room_for_the_others():
    """Where cut values do not suffice, each failing record is cut to its share."""
    fields = {f"field{place}": "x" * 300 for place in range(60)}
    made = [
        EvidenceRecord(
            place,
            0.0,
            passed=False,
            feedback=f"F{place}.",
            calls=(numbered(1, "label", fields, {}),),
        )
        for place in range(3)
    ]
    prompt = rendered(made, instruction="I", template=PLAIN, limit=6_000)
    assert all(f"F{place}." in prompt for place in range(3))
    assert len(prompt) <= 6_000


def test_an_instruction_too_long_for_the_limit_is_a_value_not_a_cut():
    """Where the instruction leaves no room, the answer says so with both sizes."""
    found = rendered([record(1)], instruction="x" * 50_000)
    assert isinstance(found, TooLong)
    assert "50,000" in found.reason
    assert "48,000" in found.reason


def test_a_long_description_leaves_most_of_the_room_to_the_examples():
    """A description takes a third of the room at most, and says what is left out of it."""
    prompt = rendered([record(1)], instruction="I", description="d" * 90_000, limit=9_000)
    assert 1_000 < prompt.count("d" * 100) * 100 < 3_000
    assert record(1).feedback in prompt


def test_an_empty_instruction_is_named_as_such_and_what_is_not_known_has_no_section():
    """Nothing is shown as an empty section."""
    prompt = rendered([], instruction=" ", description=" ")
    assert "(there is none yet)" in prompt
    assert "What is known" not in prompt
    told = rendered([], instruction=" ", description="It labels messages.")
    assert "\n\n# What is known about it\n\nIt labels messages.\n\n" in told


def test_lessons_are_told_oldest_first_and_the_newest_stay():
    """In a tenth of the room at most, and with no heading where nothing was learned."""
    told = [f"Change {number} of label: Kept." for number in range(400)]
    prompt = rendered([record(1)], instruction="I", lessons=told[:3])
    assert (
        "\n# What came of earlier changes\n\n- Change 0 of label: Kept.\n"
        "- Change 1 of label: Kept.\n- Change 2 of label: Kept.\n"
    ) in prompt
    prompt = rendered([record(1)], instruction="I", lessons=told)
    shown = [number for number, lesson in enumerate(told) if f"- {lesson}\n" in prompt]
    assert shown == list(range(shown[0], 400))
    assert 2_000 < sum(len(told[number]) for number in shown) < 4_800
    assert record(1).feedback in prompt
    for none in ([], ["x" * 90_000]):
        assert "earlier changes" not in rendered([record(1)], instruction="I", lessons=none)


def test_the_form_is_never_cut():
    """What is not read is written for nothing."""
    form = "<new_text>\n" + "(x)\n" * 500 + "</new_text>"
    prompt = rendered([record(1, size=90_000)], instruction="I", form=form, limit=8_000)
    assert form in prompt
    assert len(prompt) <= 8_000


class Picture:
    """A medium."""


def kind_of(value):
    return "image" if isinstance(value, Picture) else ""


counts = st.sampled_from(
    [
        len,
        lambda text: len(text.encode()),
        lambda text: len(text.split()),
        lambda text: len(text) // 4,
        lambda text: 3 * len(text) + 7 * text.count("x"),
    ]
)


@settings(deadline=None, max_examples=60)
@given(
    records(),
    st.tuples(st.text(max_size=200), texts),
    counts,
    st.integers(1_000, 20_000),
    st.integers(0, 4),
)
def test_the_prompt_keeps_its_tokens_whatever_they_are(found, said, count, most, media):
    """Text and the allowance for media together never exceed the limit of tokens."""
    instruction, words = said
    shown = [replace(one, attachments={f"p{n}": Picture()}) for n, one in enumerate(found)]
    limits = EvidenceLimits(prompt_tokens=most, media=media, tokens_per_medium=300)
    several = {"A": words, "B": words}
    context = PromptContext(instruction, words, [words, words], several, "G", ["L"], "N" * 50)
    prompt = render(shown, context, limits=limits, count_tokens=count, media_kind=kind_of)
    if isinstance(prompt, TooLong):
        assert f"{most:,} tokens" in prompt.reason
    else:
        assert count(prompt.text) + 300 * len(prompt.media) <= most
        assert len(prompt.media) <= media
        assert all(title in prompt.text for title, _ in prompt.media)
        assert prompt.text.endswith("N" * 50 + "\n")


def test_a_limit_in_tokens_cuts_no_more_than_it_must():
    """Most of the allowance is used where there is enough to show."""
    made = [record(place, size=20_000) for place in range(10)]
    limits = EvidenceLimits(prompt_tokens=5_000)
    prompt = render(
        made, PromptContext("I"), limits=limits, count_tokens=lambda text: len(text) // 4
    )
    assert 3_500 <= len(prompt.text) // 4 <= 5_000


def test_media_of_failing_examples_come_first_and_those_left_out_are_not_sent():
    """What is not in the text is not sent, and beyond the cap a mark stands."""
    pictures = [Picture() for _ in range(4)]
    made = [
        EvidenceRecord(
            n,
            0.0,
            passed=False,
            calls=(numbered(1, "label", {"scan": one}, {"y": "z"}),),
            calls_made=1,
        )
        for n, one in enumerate(pictures)
    ]
    prompt = render(made, PromptContext("I"), limits=EvidenceLimits(media=2), media_kind=kind_of)
    assert prompt.media == (("[image 1]", pictures[0]), ("[image 2]", pictures[1]))
    assert prompt.text.count("[... 1 image left out ...]") == 2
    far = [replace(record(9, size=9), feedback="f" * 40_000), made[0]]
    cut = render(
        far, PromptContext("I"), limits=EvidenceLimits(prompt_characters=4_500), media_kind=kind_of
    )
    assert ("[image 1]" in cut.text) == bool(cut.media)


def test_what_was_said_about_the_component_is_sent_before_what_went_through_the_program():
    """Where there is room for one image, it is not one of another step's."""
    seen, scan, pages = Picture(), Picture(), [Picture() for _ in range(8)]
    made = [
        EvidenceRecord(
            number,
            0.0,
            passed=False,
            feedback="Look at (attachment: image 1).",
            calls=(numbered(1, "label", {"scan": scan}, {"y": "z"}),),
            calls_made=1,
            inputs={"pages": pages},
            attachments={"image 1": seen},
        )
        for number in (1, 2)
    ]
    prompt = render(made, PromptContext("I"), limits=EvidenceLimits(media=2), media_kind=kind_of)
    assert [medium for _, medium in prompt.media] == [scan, seen]
    alone = render(made, PromptContext("I"), limits=EvidenceLimits(media=1), media_kind=kind_of)
    assert [medium for _, medium in alone.media] == [scan]
    assert "Look at [... 1 image left out ...]." in alone.text


@pytest.mark.parametrize("where", ["instruction", "feedback", "input"])
def test_words_like_a_title_are_not_taken_for_one(where):
    """Where a user's text speaks of [image 1], ours are called otherwise."""
    words = "See [image 1]."
    found = EvidenceRecord(
        1,
        0.0,
        passed=False,
        feedback=words if where == "feedback" else "",
        calls=(numbered(1, "label", {"a": words if where == "input" else "", "b": Picture()}, {}),),
        calls_made=1,
    )
    context = PromptContext(words if where == "instruction" else "I")
    prompt = render([found], context, template=PLAIN, media_kind=kind_of)
    ((title, _),) = prompt.media
    assert title == "[attached image 1]"
    assert prompt.text.count(title) == 1


def test_the_current_text_is_shown_byte_for_byte():
    """Also where it has what would be left out of a value."""
    text = "Keep data:image/png;base64,AAAABBBBCCCCDDDD1111 and " + "A1b" * 500
    assert text in rendered([record(1)], instruction=text, guidance=text, limits=[text])
    assert text not in rendered([record(1)], instruction="I", description=text)


def test_the_surroundings_of_a_step_are_listed_in_order():
    """Other steps in a line each, the component's own calls in their place, the whole around."""
    found = EvidenceRecord(
        1,
        0.0,
        passed=False,
        calls=(numbered(1, "label", {"query": "q"}, {"label": "K1"}),),
        calls_made=1,
        inputs={"question": "Why\nso?"},
        outputs={"answer": "x" * 500},
        turns=(
            Step("find", {"question": "Why"}, {"query": "q"}),
            1,
            Step("tell", {"label": "K1"}, {}, "no answer"),
        ),
    )
    prompt = rendered([found], instruction="I", template=PLAIN)
    around = prompt.split("Around this step:\n")[1].split("\n\n")[0].splitlines()
    assert around[:4] == [
        "The program was given question = Why so?",
        "1. find: question = Why -> query = q",
        "2. this step, call 1",
        "3. tell: label = K1 -> failed: no answer",
    ]
    assert around[4].startswith("The program answered answer = xxx")
    assert len(around[4]) < 200
    assert "characters left out" in around[4]


def test_of_a_long_trajectory_the_ends_are_listed():
    """Twelve steps at most, with a mark for the others."""
    turns = tuple(Step(f"s{n}", {}, {"x": n}) for n in range(30))
    prompt = rendered([replace(record(1), turns=turns)], instruction="I")
    assert "6. s5: nothing -> x = 5\n[... 18 steps left out ...]\n25. s24: nothing" in prompt


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ('{"a": "%s"}', '{"a": "%s", "b": "c"}', '[... 308 characters as {}, "b": "c"}'),
        ("Log:\n%s\nNext?", "Log:\n%s\nThen B.\nNext?", "characters as {}Then B.\nNext?"),
        ("1: %s", "2: %s", "2[... 302 characters as {}"),
    ],
)
def test_growing_inputs_are_folded_in_any_form(first, second, shown):
    """A history in JSON, or in the midst of one long text, is shown once."""
    log = "abc " * 75
    calls = tuple(
        numbered(n, "label", {"log": form % log}, {"x": "y"})
        for n, form in enumerate([first, second], 1)
    )
    found = EvidenceRecord(1, 0.0, passed=False, calls=calls, calls_made=2)
    prompt = rendered([found], instruction="I", template=PLAIN)
    assert prompt.count("abc ") <= 76
    assert shown.replace("{}", "in the call before ...]") in prompt


def test_guidance_limits_and_references_have_sections_of_their_own():
    """In the default order before the request, and none where there is nothing to say."""
    prompt = rendered(
        [record(1)],
        instruction="I",
        references={"Style": "Say please."},
        guidance="Prefer short rules.",
        limits=["Keep {x}", "Be context"],
        form="F",
    )
    headings = [line for line in prompt.splitlines() if line.startswith("# ")]
    assert headings == [
        "# The instructions as they are",
        "# Texts to draw on",
        "# What the program did",
        "# Words of the program's author",
        "# Limits that the new instruction has to keep to",
        "# Your task",
    ]
    assert "\n\n- Keep {x}\n- Be context\n\n# Your task\n" in prompt
    assert "\n\n\n" not in prompt
    bare = rendered([record(1)], instruction="I", form="F")
    assert "author" not in bare
    assert "Limits that" not in bare
    assert "\n\n\n" not in bare


def test_long_references_are_cut_and_guidance_never():
    """References take a quarter of the room at most."""
    prompt = rendered(
        [record(1)],
        instruction="I",
        references={"A": "a" * 90_000, "B": "b" * 90_000},
        guidance="g" * 1_000,
        limit=9_000,
    )
    assert "g" * 1_000 in prompt
    assert 200 < prompt.count("a" * 10) * 10 < 1_500
    assert "## B" in prompt
    assert record(1).feedback in prompt
    found = rendered([record(1)], instruction="I", guidance="g" * 9_000, limit=9_000)
    assert "9,000 more of guidance and limits" in found.reason


def test_scores_without_words_are_said_to_be_compared():
    """Only where nobody said anything about any of them."""
    silent = [replace(record(1), feedback=""), replace(record(2, passed=True), feedback="")]
    assert "Nobody said in words" in rendered(silent, instruction="I")
    assert "Nobody said in words" not in rendered([*silent, record(3)], instruction="I")


def test_objectives_and_media_stand_where_they_belong():
    """Objectives beside the score by name, media in the place that the feedback speaks of."""
    found = record(1, objectives={"b": 1.0, "a": 0.5})
    assert "Measured beside the score: a = 0.5; b = 1" in rendered([found], instruction="I")
    shown = object()
    seen = replace(
        record(2), feedback="Look at (attachment: image 1).", attachments={"image 1": shown}
    )
    prompt = render(
        [seen], PromptContext("I"), media_kind=lambda value: "image" if value is shown else ""
    )
    assert [medium for _, medium in prompt.media] == [shown]
    assert "Look at [image 1]." in prompt.text
    assert "With the feedback" not in prompt.text


LONG = "The invoice is wrong. " * 20


def joint(*calls, **more):
    return EvidenceRecord(1, 0.0, passed=False, calls=calls, calls_made=len(calls), **more)


def test_calls_of_several_components_are_named_and_what_passes_through_is_shown_once():
    """A long value that stands above is a pointer to it, a short one is shown again."""
    found = joint(
        numbered(1, "find", {"text": LONG, "lang": "en"}, {"note": LONG + "!"}),
        numbered(2, "label", {"note": LONG + "!", "text": LONG, "lang": "en"}, {"label": "K1"}),
        numbered(3, "find", {"text": LONG + "?"}, {"note": "n"}),
        inputs={"text": LONG},
        feedback="Say K3.",
        remarks={"find": "Too long."},
    )
    shown = rendered([found], instruction="I", template=PLAIN)
    assert shown == (
        "I\n\n## Example 1: score 0, to be improved\n\n"
        f"The program was given:\ntext: {LONG}\n\n"
        "### Call 1 of 3: find\n\n"
        "Input:\ntext: [as above: the program's input]\nlang: en\n\n"
        f"Output:\nnote: {LONG}!\n\n"
        "### Call 2 of 3: label\n\n"
        "Input:\nnote: [as above: the output note of call 1]\n"
        "text: [as above: the program's input]\nlang: en\n\n"
        "Output:\nlabel: K1\n\n"
        f"### Call 3 of 3: find\n\nInput:\ntext: {LONG}?\n\nOutput:\nnote: n\n\n"
        "Feedback:\nSay K3.\n\n"
        "Feedback on find:\nToo long."
    )


def test_what_did_better_is_called_so_and_is_never_a_wrong_output():
    """A contrast need not be right."""
    call = numbered(1, "label", {"text": "x"}, {"label": "K2"})
    beside = EvidenceRecord(2, 0.5, passed=False, is_contrast=True, calls=(call,), calls_made=1)
    shown = rendered([joint(call), beside], instruction="I", template=PLAIN)
    assert "## Example 1: score 0, to be improved\n\nInput:\ntext: x\n\nWrong output:" in shown
    assert "## Example 2: score 0.5, better\n\nInput:\ntext: x\n\nOutput:" in shown


def test_where_not_all_fits_contrasts_give_way_before_failures_and_one_of_them_stays():
    """What broke is told in full number; what works is told by one at least."""
    failing = [record(place, size=3_000) for place in range(3)]
    beside = [
        replace(record(10 + place, size=3_000), score=0.5, is_contrast=True) for place in range(5)
    ]
    shown = rendered([*failing, *beside], instruction="I", template=PLAIN, limit=6_000)
    assert [one.feedback in shown for one in failing] == [True] * 3
    assert beside[0].feedback in shown
    assert beside[4].feedback not in shown
    assert "examples left out ...]" in shown
