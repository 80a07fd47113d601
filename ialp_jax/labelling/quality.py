"""Warnings about useless labels, derived from the manifest of the labels. No torch, no JAX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ialp_jax.errors import InputError, one_line
from ialp_jax.llm.prompting import chat
from ialp_jax.llm.prompting.letters import LETTERS

CONFIDENCE = 0.999  # confidence level of the lower bound that `by_letter` returns.
LIKES = "likes"  # manifest entry about the calibration, see `ialp_jax.labelling.likes`
DOUBTFUL_SHARE = 0.2  # labels are doubtful if the letter decides a larger share of the answers
_CURES = {
    "thinking": "raise --config.llm.max_new_tokens, so that the model ends its thinking",
    "non_finite": "use --config.llm.dtype=float32",
}
_CURE = "use --config.llm.mode=choice or likelihood, or another model"


def by_letter(shares: np.ndarray, answers: int) -> float:
    """Computes a lower bound for the share of answers that depend on the letter, not on the item.

    Candidates are listed in random order, so a model that judges items names every letter equally often.
    Suppose that a share b of the answers always names the same letter, and that the other answers name all
    letters equally often. Then this letter has the share s = b + (1 - b) / K of all answers.
    So b = (s - 1 / K) / (1 - 1 / K).

    The function takes s from the most frequent letter. The bound is b for the lower end of a one-sided
    Clopper-Pearson interval of s. The error probability of the interval is (1 - ``CONFIDENCE``) / K, because
    any of the K letters may be the most frequent one. If the model gets each prompt in several orders, the
    bound is lower than necessary.

    Args:
      shares: float [K], share of each letter among the answers that name a candidate.
      answers: number of answers that name a candidate, at least 1.

    Returns:
      A number between 0 and 1.
    """
    count, number = len(shares), round(float(np.max(shares)) * answers)
    low = float(stats.beta.ppf((1 - CONFIDENCE) / count, number, answers - number + 1))
    return max(0.0, (low - 1 / count) / (1 - 1 / count)) if count > 1 else 0.0


def broken(manifest: Mapping[str, Any]) -> str:
    """Returns the name of the first manifest entry with an impossible value, or an empty text."""
    counts, letters, wrapper = (manifest.get(name) for name in ("counts", "order_bias", "wrapper"))

    def numbers(value: Any) -> bool:
        return isinstance(value, dict) and all(type(n) is int and n >= 0 for n in value.values())

    if counts is not None and not (
        isinstance(counts, dict)
        and numbers(counts.get("invalid", {}))
        and numbers({name: n for name, n in counts.items() if name != "invalid"})
    ):
        return "counts"
    if letters is not None:
        shares = letters.get("shares") if isinstance(letters, dict) else ""
        answers: Any = letters.get("answers") if isinstance(letters, dict) else ""
        shares_of_bias = ("bias", "by_chance")
        empty = answers == 0 and shares is None
        full = type(answers) is int and isinstance(shares, list) and 0 < len(shares) < len(LETTERS)
        if not empty and not (
            full
            and answers > 0
            and all(_share(x) for x in (*shares, *(letters.get(name) for name in shares_of_bias)))
        ):
            return "order_bias"
    is_wrapper = isinstance(wrapper, list) and [type(part) for part in wrapper] == [str] * 3
    if wrapper is not None and not is_wrapper:
        return "wrapper"
    orders = manifest.get("permutations", 1)
    return "" if type(orders) is int and orders >= 1 else "permutations"


def _share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def line(manifest: Mapping[str, Any]) -> str:
    """Returns a line of text: shares of valid, none and invalid labels, and the bias towards letters."""
    counts = manifest.get("counts", {})
    total = max(counts.get("prompts", 0), 1)
    invalid = {cause: number for cause, number in counts.get("invalid", {}).items() if number}
    parts = [f"{name} {counts.get(name, 0) / total:.1%}" for name in ("valid", "none")]
    causes = ", ".join(f"{cause} {number:,}" for cause, number in invalid.items())
    parts.append(f"invalid {sum(invalid.values()) / total:.1%}" + (f" ({causes})" if causes else ""))
    return "; ".join([", ".join(parts), *(f"{name} {value}" for name, value in bias(manifest))])


def bias(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns names and values of facts about letters. Without letters, the list is empty."""
    order_bias = manifest.get("order_bias") or {}
    if not order_bias.get("answers"):
        return []
    shares = order_bias["shares"]
    best = int(np.argmax(shares))
    return [
        ("order bias of letters", f"{order_bias['bias']:.2f} ({order_bias['by_chance']:.2f} by chance)"),
        ("most frequent letter", f"{LETTERS[best]} {shares[best]:.1%} ({1 / len(shares):.1%} by chance)"),
    ]


def cautions(manifest: Mapping[str, Any]) -> list[str]:
    """Returns reasons why these labels may be useless, one line each."""
    counts, order_bias = manifest.get("counts", {}), manifest.get("order_bias") or {}
    reasons = [thinking(manifest)]
    if order_bias.get("answers"):
        decided = by_letter(np.asarray(order_bias["shares"]), order_bias["answers"])
        if decided > DOUBTFUL_SHARE:
            letter = LETTERS[int(np.argmax(order_bias["shares"]))]
            reasons.append(
                f"the model names letter {letter} for any item, in at least {decided:.0%} of its "
                f"answers ({CONFIDENCE:.1%} confidence): these labels are doubtful"
            )
    if 0 < counts.get("valid", 0) <= counts.get("none", 0) and "none" in counts:
        reasons.append("every valid label is none: the labels name no item")
    bad, total = sum(counts.get("invalid", {}).values()), counts.get("prompts", 0)
    if 2 * bad > total:
        reasons.append(f"most answers are invalid: {bad:,} of {total:,}")
    reasons += (manifest.get(LIKES) or {}).get("cautions", [])
    return [reason for reason in reasons if reason]


def calibration(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns names and values of facts about the calibration of likes. Without it, the list is empty."""
    rounds = (manifest.get(LIKES) or {}).get("rounds")
    if not rounds:
        return []
    last, facts = rounds[-1], []
    for name, value in last["coefficients"].items():
        facts.append((f"log-odds of a like, {name}", f"{value:+.4g}"))
    if last.get("auc") is not None:
        facts.append(("AUC of proposals", f"{last['auc']:.3f}"))
    if "log_loss" in last:
        facts.append(("log loss", f"{last['log_loss']:.4f} ({last['log_loss_of_rate']:.4f} by the rate)"))
        best = last["best"]
        facts.append(
            ("likes of the best candidate", f"{best['observed']:.1%} ({best['predicted']:.1%} predicted)")
        )
    shares = [one.get("none_share") for one in rounds]
    written = ", ".join("-" if share is None else f"{share:.0%}" for share in shares)
    return [*facts, ("none by round", written)]


def thinking(facts: Mapping[str, Any]) -> str:
    """Returns a warning if the chat template leaves a block of thinking open, else an empty text."""
    wrapper = facts.get("wrapper")
    state = facts.get("thinking") or (chat.thinking_of(chat.Wrapper(*wrapper)) if wrapper else "")
    if state != chat.OPEN:
        return ""
    opens = "the chat template opens a block of thinking before the answer"
    if facts.get("mode") == "generate":
        return f"{opens}: --config.llm.max_new_tokens={facts.get('max_new_tokens')} must be enough to end it"
    return (
        f"{opens}: its letters are scored inside it; use --config.llm.mode=generate or --config.llm.chat=off"
    )


def require_valid(manifest: Mapping[str, Any], reply: str, folder: Path) -> None:
    """Raises InputError if there are labels, but all of them are invalid.

    Args:
      manifest: manifest of the labels.
      reply: text of one invalid reply of the model; may be empty.
      folder: folder of the label store, for the error message.

    Raises:
      InputError: no label is valid. The message gives the causes and a remedy.
    """
    counts = manifest.get("counts", {})
    if counts.get("valid") or not counts.get("prompts"):
        return
    causes = {cause: number for cause, number in counts["invalid"].items() if number}
    by_cause = ", ".join(f"{cause} {number:,}" for cause, number in causes.items())
    wrote = f"; the model wrote {one_line(reply)!r}" if reply else ""
    cure = _CURES.get(max(causes, key=causes.get, default=""), _CURE)
    raise InputError(
        f"all {counts['prompts']:,} answers of {manifest.get('model')} are invalid ({by_cause}){wrote}; "
        f"{cure}; the answers are stored in {folder}"
    )
