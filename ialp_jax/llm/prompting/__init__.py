"""From histories and candidates to text and token rows; no torch.

- `templates`: the words around titles; `chat`: the chat template around those; `thinking`: its blocks;
- `tokens`: rows of ``likelihood``; `letters`: rows of ``choice`` and ``generate``; `orders`: of candidates;
- `alike`: items with the same words; `lengths`: how long prompts will be.
"""
