"""Compares the scores of every mode with a plain forward pass per candidate, for many architectures."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
from small_world import titles

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import families  # noqa: E402

from ialp_jax.llm.config import LLMConfig  # noqa: E402
from ialp_jax.llm.engines.transformers_engine import TransformersEngine  # noqa: E402
from ialp_jax.llm.model import self_check  # noqa: E402
from ialp_jax.llm.model.loading import load_tokenizer  # noqa: E402
from ialp_jax.llm.modes import masks  # noqa: E402
from ialp_jax.llm.prompting import templates  # noqa: E402
from ialp_jax.llm.prompting.lengths import Ruler  # noqa: E402
from ialp_jax.types import Prompts  # noqa: E402

pytestmark = pytest.mark.slow

TEMPLATE = templates.TEMPLATES["list"]
LENGTH, CANDIDATES, WRITTEN = 14, 3, 4
# In these families, positions or layers do not allow several candidates in one sequence. So titles are scored
# one by one.
ONE_BY_ONE = {"gpt_neo", "falcon with alibi", "bloom", "mpt", "mamba", "lfm2"}
NO_PREFIX = {"mamba", "lfm2"}  # their state is not a cache of keys and values, so no prefix is shared


class Family(NamedTuple):
    name: str
    folder: Any
    model: Any
    tokenizer: Any


@pytest.fixture(scope="module", params=families.parameters())
def family(request, tmp_path_factory):
    torch.set_num_threads(1)
    folder = families.write(request.param, tmp_path_factory.mktemp("family"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return Family(request.param, folder, families.reference(folder), tokenizer)


def scorer(family, mode, **settings):
    config = LLMConfig(model=str(family.folder), mode=mode, max_new_tokens=WRITTEN, batch_size=2, **settings)
    subject = TransformersEngine(family.folder, titles(), TEMPLATE, config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        subject.check((LENGTH, CANDIDATES))
    return subject


def draw():
    """Prompts with histories of 0, 1, 5 and 14 titles. Some fit into every window, some are far longer."""
    generator = np.random.default_rng(3)
    histories = generator.integers(1, len(titles()), (4, LENGTH)).astype(np.int32)
    for row, count in enumerate((0, 1, 5, LENGTH)):
        histories[row, : LENGTH - count] = 0
    return Prompts(histories, generator.integers(1, len(titles()), (4, CANDIDATES)).astype(np.int32))


def expected_titles(family, tokens, prompts):
    histories, candidates, _ = prompts
    log_probabilities = np.zeros(candidates.shape)
    for p, k in np.ndindex(*candidates.shape):
        before = np.concatenate([tokens.prefix, *(tokens.of(item) for item in histories[p])])
        title = tokens.of(candidates[p, k])
        ids = torch.from_numpy(np.concatenate([before, title]))
        with torch.inference_mode():
            token_log_probabilities = (
                family.model(ids[None], use_cache=False).logits[0].float().log_softmax(-1)
            )
        log_probabilities[p, k] = (
            token_log_probabilities[len(before) - 1 : -1].gather(1, ids[len(before) :, None]).sum()
        )
    assert len(before) > 3 * families.WINDOW
    return log_probabilities


def expected_letters(family, blocks, prompts):
    rows = blocks.rows(prompts)
    log_probabilities = np.zeros((prompts.num_prompts, CANDIDATES + 1))
    for p in range(prompts.num_prompts):
        prompt = rows.ids[p][rows.segment[p] == 0].tolist()
        for line, name in enumerate(blocks.names[: CANDIDATES + 1]):
            ids = torch.tensor([*prompt, *name])
            with torch.inference_mode():
                token_log_probabilities = (
                    family.model(ids[None], use_cache=False).logits[0].float().log_softmax(-1)
                )
            log_probabilities[p, line] = (
                token_log_probabilities[len(prompt) - 1 : -1].gather(1, ids[len(prompt) :, None]).sum()
            )
    return log_probabilities - np.logaddexp.reduce(log_probabilities, axis=1, keepdims=True)


def test_likelihood(family):
    subject = scorer(family, "likelihood")
    assert subject.plain == (family.name in ONE_BY_ONE)
    prompts = draw()
    expected = expected_titles(family, subject.tokens, prompts)
    np.testing.assert_allclose(subject.answer(prompts)[0].scores, expected, atol=2e-3)
    turned = prompts._replace(histories=prompts.histories[::-1])
    assert np.abs(expected[0] - expected_titles(family, subject.tokens, turned)[0]).max() > 0.1
    if not subject.plain:
        scores = subject.alternatives(prompts)
        np.testing.assert_allclose(scores.detach(), expected, atol=2e-3)
        scores.sum().backward()
        assert subject.model.get_input_embeddings().weight.grad.abs().max() > 0


def test_choice(family):
    subject = scorer(family, "choice")
    assert subject.plain == (family.name in NO_PREFIX)
    prompts = draw()
    expected = expected_letters(family, subject.asker.letters, prompts)
    np.testing.assert_allclose(subject.asker.lines(prompts), expected, atol=2e-3)
    with torch.inference_mode():
        np.testing.assert_allclose(subject.alternatives(prompts), expected, atol=2e-3)
    subject.plain = True
    np.testing.assert_allclose(subject.asker.lines(prompts), expected, atol=2e-3)


def test_generate(family):
    subject = scorer(family, "generate")
    assert not subject.plain
    prompts = draw()
    texts, _ = subject.asker.write(prompts)
    ids, mask = subject.asker.letters.padded(prompts)
    for p, text in enumerate(texts):
        written = ids[p][mask[p] == 1].tolist()
        begun = len(written)
        while len(written) < begun + WRITTEN and written[-1] != families.END:
            with torch.inference_mode():
                token_log_probabilities = family.model(torch.tensor([written]), use_cache=False).logits[0, -1]
            written.append(int(token_log_probabilities.argmax()))
        assert text == family.tokenizer.decode(written[begun:], skip_special_tokens=True)


@pytest.mark.parametrize("name", ["gemma3", "mistral with a window", "gemma2"])
def test_the_check_notices_a_mask_without_its_window(name, tmp_path, monkeypatch):
    """Prompts that fit into the window get the right mask, so only longer prompts reveal the error."""
    folder = families.write(name, tmp_path)
    monkeypatch.setattr(masks, "LIMITS", {masks.SLIDING: "none", masks.CHUNKED: "none"})
    subject = TransformersEngine(
        folder, titles(), templates.TEMPLATES["titles"], LLMConfig(model=str(folder))
    )
    subject.check((0, 1))
    assert not subject.plain
    with pytest.warns(UserWarning, match="titles are scored one by one"):
        subject.check((LENGTH, CANDIDATES))
    assert subject.plain


@pytest.mark.parametrize("name", ["gemma3 with eyes", "qwen3_moe"])
def test_a_model_in_training_gives_the_same_scores(name, tmp_path):
    """The models have no dropout. But in training mode, experts are balanced, and image models need more
    inputs.
    """
    folder = families.write(name, tmp_path)
    subject = TransformersEngine(folder, titles(), TEMPLATE, LLMConfig(model=str(folder)))
    expected = subject.alternatives(draw()).detach()
    subject.model.train()
    torch.testing.assert_close(subject.alternatives(draw()).detach(), expected)


def test_no_prompt_is_longer_than_the_longest_of_the_check(tmp_path):
    folder = families.write("mistral", tmp_path)
    for mode in ("likelihood", "choice"):
        config = LLMConfig(model=str(folder), mode=mode)
        subject = TransformersEngine(folder, titles(), TEMPLATE, config)
        generator = np.random.default_rng(0)
        some = generator.integers(1, len(titles()), (200, LENGTH + CANDIDATES)).astype(np.int32)
        hard = self_check.hardest(subject, (LENGTH, CANDIDATES))
        assert hard.histories.shape == (2, LENGTH)
        assert hard.candidates.shape == (2, CANDIDATES)
        ruler = Ruler(load_tokenizer(folder, ""), folder, titles(), TEMPLATE, config, subject.limit)
        longest, short = ruler.measure(hard).prompt
        others = ruler.measure(Prompts(some[:, :LENGTH], some[:, LENGTH:])).prompt
        assert longest >= others.max() > others.min() >= short


def test_the_check_uses_the_longest_prompts_that_fit(tmp_path):
    """If the longest candidates make a prompt with letters too long, the check uses shorter candidates."""
    folder = families.write("mistral", tmp_path)
    subject = TransformersEngine(folder, titles(), TEMPLATE, LLMConfig(model=str(folder), mode="choice"))
    candidates = self_check.hardest(subject, (LENGTH, 20)).candidates
    longest = subject.asker.letters.lengths(Prompts(np.zeros((2, 1), np.int32), candidates))[0]
    subject.limit = subject.asker.letters._limit = int(longest) - 3
    candidates = self_check.hardest(subject, (LENGTH, 20)).candidates
    assert subject.asker.letters.lengths(Prompts(np.zeros((2, 1), np.int32), candidates))[0] <= subject.limit
    subject.check((LENGTH, 20))
    assert not subject.plain
