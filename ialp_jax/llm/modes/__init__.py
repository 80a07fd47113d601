"""The three ways to ask, one file each, and the common form of their answers.

- `likelihood`, `choice`, `generate`: the modes; `asker`: the last two, from prompts to answers;
- `grammar`: reads free text; `none_rule`: when the best candidate of ``likelihood`` is "none";
- `answers`: the common form;
- `head`, `masks`, `prefix`: fast forward passes; `plain`: the slow one they are compared with.
"""
