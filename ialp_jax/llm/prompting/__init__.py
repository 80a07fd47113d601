"""Turns histories and candidates into text and token rows. No torch.

- `templates`: the words around titles; `chat`: the chat template around them; `thinking`: thinking blocks;
- `tokens`: rows of ``likelihood``; `letters`: rows of ``choice`` and ``generate``; `orders`: candidate
  orders;
- `alike`: items with the same words; `lengths`: expected lengths of prompts.
"""
