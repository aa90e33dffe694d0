"""`dspy.Flex`, where the installed DSPy has it: DSPy calls it experimental.

The one place that asks. Without it `CODE_MODULES` is empty, so that nothing counts as code.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CODE_MODULES", "CODE_SIGNATURE", "PRIMITIVES_CATALOG", "task_context"]

CODE_MODULES: tuple[type, ...]
"""The modules whose source is a component, as `isinstance` takes them."""
CODE_SIGNATURE: Any
"""The signature by which DSPy's own code proposer asks for a source."""

try:
    from dspy.predict.flex import Flex
    from dspy.predict.flex.primitives_doc import PRIMITIVES_CATALOG
    from dspy.teleprompt.gepa.gepa_flex_utils import CodeProposalSignature
    from dspy.teleprompt.gepa.gepa_flex_utils import flex_task_context as task_context
except ImportError:
    CODE_MODULES, CODE_SIGNATURE, PRIMITIVES_CATALOG = (), None, ""

    def task_context(_program: object) -> tuple[dict[str, str], dict[str, str]]:
        """Task description and context by component: nothing, as there is no code."""
        return {}, {}
else:
    CODE_MODULES, CODE_SIGNATURE = (Flex,), CodeProposalSignature
