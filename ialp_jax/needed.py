"""Finds the operations and inputs on which the outputs of a traced function depend."""

from __future__ import annotations

from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var


def needed(traced: Jaxpr) -> tuple[list[JaxprEqn], set[Var]]:
    """The operations that the outputs depend on, in order, and all variables that these operations read.

    An operation may be a whole function, such as a compiled one. Then each of its inputs counts as read.
    """
    operations: list[JaxprEqn] = []
    variables = {one for one in traced.outvars if not isinstance(one, Literal)}
    for operation in reversed(traced.eqns):
        if not variables.isdisjoint(operation.outvars):
            operations.insert(0, operation)
            variables |= {one for one in operation.invars if not isinstance(one, Literal)}
    return operations, variables
