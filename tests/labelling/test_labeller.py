"""All labellers have the methods of one protocol, so that the label loop accepts any of them."""

import inspect

import pytest
from function_labeller import FunctionLabeller

from ialp_jax.labelling import sources
from ialp_jax.labelling.labeller import Labeller
from ialp_jax.labelling.llm_labeller import LLMLabeller

RULES = [
    member
    for member in vars(sources).values()
    if inspect.isclass(member) and issubclass(member, sources.RuleLabeller)
]
METHODS = [
    name for name, method in vars(Labeller).items() if inspect.isfunction(method) and name != "__init__"
]


@pytest.mark.parametrize("kind", [LLMLabeller, FunctionLabeller, *RULES])
def test_every_labeller_has_the_methods_of_the_protocol(kind):
    assert {"label", "require_valid", "manifest", "__enter__", "__exit__"} <= set(METHODS)
    for name in ("label", "require_valid", "manifest"):
        assert inspect.signature(getattr(kind, name)).parameters.keys() == (
            inspect.signature(getattr(Labeller, name)).parameters.keys()
        )
    for name in METHODS:
        if not name.startswith("_") or name in ("__enter__", "__exit__"):
            assert callable(getattr(kind, name))


def test_the_six_sources_are_the_llm_and_five_rules():
    assert len(RULES) == 6  # five rules and their base class
