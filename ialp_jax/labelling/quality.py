"""Are a model's labels worth anything? What their manifest tells, in words. No torch, no JAX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ialp_jax.errors import InputError, one_line
from ialp_jax.llm.prompting import chat
from ialp_jax.llm.prompting.letters import LETTERS

CONFIDENCE = 0.999  # of the bound on how often the letter decides
MUCH = 0.2  # share of answers that the letter decides, from which labels are called doubtful
_CURES = {
    "thinking": "raise --config.llm.max_new_tokens, so that the model ends its thinking",
    "non_finite": "use --config.llm.dtype=float32",
}
_CURE = "use --config.llm.mode=choice or likelihood, or another model"


def by_letter(shares: np.ndarray, answers: int) -> float:
    """A lower bound on the share of answers that the letter decides, not the item.

    Candidates are listed in random order, so a model that judges items names every letter equally often. Let
    a share b of the answers name the same letter for any item, and let the others name all letters equally
    often. That letter then has the share s = b + (1 - b) / K, so b = (s - 1 / K) / (1 - 1 / K). The bound is
    b at the lower end of a one-sided Clopper-Pearson interval for s, the share of the most frequent letter.
    Its error probability is (1 - ``CONFIDENCE``) / K, because any letter may be the most frequent one.
    Rotations of one prompt only make the bound more careful.

    Args:
      shares: float [K], of the letters among the answers that name a candidate.
      answers: how many these are, at least 1.

    Returns:
      float in 0..1.
    """
    count, number = len(shares), round(float(np.max(shares)) * answers)
    low = float(stats.beta.ppf((1 - CONFIDENCE) / count, number, answers - number + 1))
    return max(0.0, (low - 1 / count) / (1 - 1 / count)) if count > 1 else 0.0


def broken(manifest: Mapping[str, Any]) -> str:
    """The first entry, of those that this module reads, that no label stage can have written; or empty."""
    counts, letters, told = (manifest.get(name) for name in ("counts", "order_bias", "wrapper"))

    def numbers(found: Any) -> bool:
        return isinstance(found, dict) and all(type(n) is int and n >= 0 for n in found.values())

    if counts is not None and not (
        isinstance(counts, dict)
        and numbers(counts.get("invalid", {}))
        and numbers({name: n for name, n in counts.items() if name != "invalid"})
    ):
        return "counts"
    if letters is not None:
        shares = letters.get("shares") if isinstance(letters, dict) else ""
        answers = letters.get("answers") if isinstance(letters, dict) else ""
        known = ("bias", "by_chance")
        empty = answers == 0 and shares is None
        full = type(answers) is int and isinstance(shares, list) and 0 < len(shares) < len(LETTERS)
        if not empty and not (
            full and answers > 0 and all(_share(x) for x in (*shares, *(letters.get(name) for name in known)))
        ):
            return "order_bias"
    if told is not None and not (isinstance(told, list) and [type(part) for part in told] == [str] * 3):
        return "wrapper"
    orders = manifest.get("permutations", 1)
    return "" if type(orders) is int and orders >= 1 else "permutations"


def _share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def line(manifest: Mapping[str, Any]) -> str:
    """Shares of valid, none and invalid labels, and the order bias beside chance."""
    counts = manifest.get("counts", {})
    total = max(counts.get("prompts", 0), 1)
    invalid = {cause: number for cause, number in counts.get("invalid", {}).items() if number}
    parts = [f"{name} {counts.get(name, 0) / total:.1%}" for name in ("valid", "none")]
    causes = ", ".join(f"{cause} {number:,}" for cause, number in invalid.items())
    parts.append(f"invalid {sum(invalid.values()) / total:.1%}" + (f" ({causes})" if causes else ""))
    return "; ".join([", ".join(parts), *(f"{name} {value}" for name, value in bias(manifest))])


def bias(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the facts about letters; empty in other modes."""
    found = manifest.get("order_bias") or {}
    if not found.get("answers"):
        return []
    best = int(np.argmax(found["shares"]))
    return [
        ("order bias of letters", f"{found['bias']:.2f} ({found['by_chance']:.2f} by chance)"),
        (
            "most frequent letter",
            f"{LETTERS[best]} {found['shares'][best]:.1%} ({1 / len(found['shares']):.1%} by chance)",
        ),
    ]


def cautions(manifest: Mapping[str, Any]) -> list[str]:
    """Why these labels may be junk, one line each; empty where nothing points to it."""
    counts, found = manifest.get("counts", {}), manifest.get("order_bias") or {}
    said = [thinking(manifest)]
    if found.get("answers"):
        decided = by_letter(np.asarray(found["shares"]), found["answers"])
        if decided > MUCH:
            letter = LETTERS[int(np.argmax(found["shares"]))]
            said.append(
                f"the model names letter {letter} whatever it stands for, in at least {decided:.0%} of its "
                f"answers ({CONFIDENCE:.1%} confidence): these labels are doubtful"
            )
    if 0 < counts.get("valid", 0) <= counts.get("none", 0) and "none" in counts:
        said.append("every valid label is none: they teach no item")
    bad, total = sum(counts.get("invalid", {}).values()), counts.get("prompts", 0)
    if 2 * bad > total:
        said.append(f"most answers are invalid: {bad:,} of {total:,}")
    return [words for words in said if words]


def thinking(facts: Mapping[str, Any]) -> str:
    """A warning if the chat template leaves a block of thinking open; else empty."""
    told = facts.get("wrapper")
    state = facts.get("thinking") or (chat.thinking_of(chat.Wrapper(*told)) if told else "")
    if state != chat.OPEN:
        return ""
    opens = "the chat template opens a block of thinking before the answer"
    if facts.get("mode") == "generate":
        return f"{opens}: --config.llm.max_new_tokens={facts.get('max_new_tokens')} must be enough to end it"
    return (
        f"{opens}: its letters are scored inside it; use --config.llm.mode=generate or --config.llm.chat=off"
    )


def require_valid(manifest: Mapping[str, Any], reply: str, folder: Path) -> None:
    """Refuses labels of which not one is valid.

    Args:
      manifest: of the labels.
      reply: what the model wrote at one of them; may be empty.
      folder: of the label store, named in the message.

    Raises:
      InputError: says why they are invalid, and what may help.
    """
    counts = manifest.get("counts", {})
    if counts.get("valid") or not counts.get("prompts"):
        return
    causes = {cause: number for cause, number in counts["invalid"].items() if number}
    told = ", ".join(f"{cause} {number:,}" for cause, number in causes.items())
    wrote = f"; the model wrote {one_line(reply)!r}" if reply else ""
    cure = _CURES.get(max(causes, key=causes.get, default=""), _CURE)
    raise InputError(
        f"all {counts['prompts']:,} answers of {manifest.get('model')} are invalid ({told}){wrote}; {cure}; "
        f"the answers are kept in {folder}"
    )
