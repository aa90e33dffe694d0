"""What a reflection is told of the metric's remarks on single components."""

from __future__ import annotations

from dataclasses import replace

from dspy_gepa.core.work import Evidence, ReflectionRequest
from dspy_gepa.judging.words import merged

__all__ = ["with_remarks"]


def with_remarks(
    request: ReflectionRequest,
) -> tuple[ReflectionRequest, dict[str, dict[int, str]]]:
    """The request with what was attached to remarks, and component to example to the words.

    Where there are none on an example, the rollout's own words stand in.
    """
    feedback: dict[str, dict[int, str]] = {
        name: {}
        for name in request.components
        if any(name in evidence.remarks for evidence in request.evidence)
    }
    evidence = []
    for each in request.evidence:
        taken = dict(each.rollout.attachments)
        for name, words in feedback.items():
            text = ""
            if (remark := each.remarks.get(name)) is not None:
                text = merged(remark.text, remark.attachments, taken)
            words[each.example] = text or each.rollout.feedback
        evidence.append(_with_attachments(each, taken))
    return replace(request, evidence=tuple(evidence)), feedback


def _with_attachments(evidence: Evidence, attachments: dict[str, object]) -> Evidence:
    return replace(evidence, rollout=replace(evidence.rollout, attachments=attachments))
