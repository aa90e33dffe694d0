"""The whole path on a real language model: a local server, DSPy's own client, a real run."""

import json

import dspy
import pytest
from warm_python import ALONE

from dspy_gepa import GEPA

DATES = [
    ("We met on 3 May 2021 in Ghent.", "20210503"),
    ("The lease ends on December 31, 2024.", "20241231"),
    ("Born on 7 August 1999, she moved early.", "19990807"),
    ("Delivery is planned for January 15, 2023.", "20230115"),
    ("On 22 June 2020 the shop opened.", "20200622"),
    ("The exam took place on November 2, 2018.", "20181102"),
]


@pytest.fixture
def local_lm(local_model):
    return dspy.LM(**local_model.settings, max_tokens=300)


@pytest.mark.local_model
def test_a_program_is_optimized_on_a_real_local_model(local_lm, tmp_path, warm_python):
    """Calls are counted, the best member is no worse than the seed, the file loads elsewhere."""
    examples = [dspy.Example(text=text, day=day).with_inputs("text") for text, day in DATES]
    calls = []

    def metric(gold, pred, trace=None):
        calls.append(gold)
        if pred.day.strip() == gold.day:
            return 1.0, "Right."
        return 0.0, f"The day is {gold.day}: year, month and day as eight digits, nothing else."

    program = dspy.Predict("text -> day")
    settings = {"reflection_style": "transcribe", "num_threads": 1, "track_stats": True}
    optimizer = GEPA(metric, max_metric_calls=10, **settings)
    with dspy.context(lm=local_lm):
        improved = optimizer.compile(program, examples[:3], examples[3:])

    result = optimizer.result
    assert result.tally.metric_calls == len(calls) <= 10
    assert result.tally.reflection_calls >= 1
    estimates = [standing.estimate for standing in result.standings]
    assert estimates[result.best] >= estimates[0]
    sent = [entry for entry in local_lm.history if entry["usage"]]
    assert len(sent) >= len(calls) + result.tally.reflection_calls

    improved.save(tmp_path / "improved.json")
    stored = json.loads((tmp_path / "improved.json").read_text())
    assert stored["signature"]["instructions"] == improved.signature.instructions
    code = (
        "import dspy\n"
        "program = dspy.Predict('text -> day')\n"
        f"program.load({str(tmp_path / 'improved.json')!r})\n"
        f"lm = dspy.LM({local_lm.model!r}, api_base={local_lm.kwargs['api_base']!r}, "
        "api_key='local', cache=False)\n"
        "with dspy.context(lm=lm):\n"
        "    print(program(text='It rained on 5 May 2019.').day)\n"
    )
    done = warm_python.run(ALONE + code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
