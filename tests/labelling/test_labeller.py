"""All who label have the methods of one protocol, so that the label loop takes any of them."""

import inspect

import pytest
from function_labeller import FunctionLabeller

from ialp_jax.labelling import sources
from ialp_jax.labelling.labeller import Labeller
from ialp_jax.labelling.llm_labeller import LLMLabeller

RULES = [
    one for one in vars(sources).values() if inspect.isclass(one) and issubclass(one, sources.RuleLabeller)
]
METHODS = [
    name for name, method in vars(Labeller).items() if inspect.isfunction(method) and name != "__init__"
]


@pytest.mark.parametrize("kind", [LLMLabeller, FunctionLabeller, *RULES])
def test_every_labeller_has_the_protocols_methods(kind):
    assert {"label", "require_valid", "manifest", "__enter__", "__exit__"} <= set(METHODS)
    for name in ("label", "require_valid", "manifest"):
        assert inspect.signature(getattr(kind, name)).parameters.keys() == (
            inspect.signature(getattr(Labeller, name)).parameters.keys()
        )
    for name in METHODS:
        if not name.startswith("_") or name in ("__enter__", "__exit__"):
            assert callable(getattr(kind, name))


def test_the_six_sources_are_the_llm_and_five_rules():
    assert len(RULES) == 6  # with the class that the five share
