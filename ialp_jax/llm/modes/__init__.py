"""The three modes of asking, one file each, and the common form of their answers.

- `likelihood`, `choice`, `generate`: the modes; `asker`: asks prompts in the last two;
- `grammar`: reads free text; `none_rule`: decides "none" for ``likelihood``;
- `answers`: the common form;
- `head`, `masks`, `prefix`: fast forward passes; `plain`: a slow one to compare them with.
"""
