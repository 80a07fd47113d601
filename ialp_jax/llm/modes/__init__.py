"""The three modes of the LLM, one file each, and the common form of their answers.

- `likelihood`, `choice`, `generate`: the modes; `asker`: runs ``choice`` and ``generate``;
- `grammar`: reads free text; `none_rule`: decides "none" for ``likelihood``;
- `answers`: the common form;
- `head`, `masks`, `prefix`: fast forward passes; `plain`: the slow forward pass, which is the reference.
"""
