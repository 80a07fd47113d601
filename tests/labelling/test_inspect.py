import csv
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from small_world import dataset, save, titles
from small_world import prompts as draw

from ialp_jax import store
from ialp_jax.labelling import inspect, label_text, shards
from ialp_jax.labelling.label_files import catalogue_facts
from ialp_jax.labelling.label_store import LabelStore
from ialp_jax.labelling.shards import Batch
from ialp_jax.llm.modes.answers import CAUSES, Answers
from ialp_jax.llm.prompting import letters, templates
from ialp_jax.types import Prompts

TEMPLATE = templates.TEMPLATES["list"]
INVALID, NONE = 3, 7  # prompts


def model(parts):
    """A fake worker. The last candidate is always best, and the answer to prompt `INVALID` has no letter."""
    for part in parts:
        answers = Answers.from_scores(np.tile(np.arange(4, dtype=np.float32) / 8, (part.num_prompts, 1)))
        answers.choice[INVALID], answers.cause[INVALID] = -1, CAUSES.index("no_letter")
        yield Batch(answers, tokens=9 * part.num_prompts, seconds=2.5)


def labelled(run, shared=None):
    """Makes a run folder with 20 prompts in two rounds, as the stages leave it."""
    save(run)
    folder, prompts = run / "labels", draw(20, seed=3)
    context = shards.describe(shared or folder / "shards", {"template": {"name": "list"}}, model="fake")
    labels = LabelStore(shared or folder / "shards", folder / "plans", context, titles(), TEMPLATE, 20)
    answers, _ = labels.answers(prompts, model)
    choice = answers.choice.copy()
    choice[NONE] = 0
    arrays = {**prompts.arrays(), "choice": choice, "scores": answers.scores}
    arrays |= {"round": np.arange(20) // 10, "session": np.arange(20) % 10}
    manifest = {
        "model": "fake/mistral",
        "template": dataclasses.asdict(TEMPLATE),
        "mode": "likelihood",
        "catalogue": catalogue_facts(dataset()),
        "store": str(shared or ""),
        "context": context,
        "counts": {"invalid": {"no_letter": 1, "empty": 0}},
        "tokens": 1234,
        "seconds": 2.5,
    }
    store.write_arrays(folder / "arrays.npz", arrays)
    store.seal(folder, manifest)
    return run


@pytest.fixture
def run(tmp_path):
    return labelled(tmp_path / "run")


def output_of(capsys, *args):
    inspect.main([str(arg) for arg in args])
    return capsys.readouterr().out


def refused(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        inspect.main([str(arg) for arg in args])
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def prompt_numbers(text):
    return [int(line.split()[1]) for line in text.splitlines() if line.startswith("prompt ")]


def test_the_head_names_the_model_and_its_settings(run, capsys):
    text = output_of(capsys, run, "--number=0")
    for words in ("fake/mistral", "likelihood", "list, version 1", "1,234", "2.5", "small", "48"):
        assert words in text
    assert "20; an item 18 (90.0%), none 1 (5.0%), invalid 1 (5.0%) by cause: no_letter 1\n" in text
    assert prompt_numbers(text) == []


def test_a_prompt_is_shown_exactly_as_it_was_asked(run, capsys):
    arrays, _ = store.load(run / "labels")
    text = output_of(capsys, run / "labels", "--number=20")
    blocks = text.split("\nprompt ")[1:]
    for row in (0, INVALID, NONE):
        lines = blocks[row].splitlines()
        assert lines[0] == f"{row} (round {row // 10}, session {row % 10})"
        prompt_lines = templates.render(TEMPLATE, titles(), arrays["histories"][row]).splitlines()
        assert [line[4:] for line in lines if line.startswith("  | ")] == prompt_lines
        offered = [titles()[item] for item in arrays["candidates"][row]]
        marked = [line for line in lines if line[2:3] == "*"]
        assert [line.split(maxsplit=3 if line in marked else 2)[-1] for line in lines[-6:-2]] == offered
        best = f"4, {offered[3]}"
        answer = "invalid (no_letter)" if row == INVALID else best
        assert lines[-2] == f"  answer: {answer}"
        assert lines[-1].startswith(
            f"  label:  {'invalid' if row == INVALID else 'none' if row == NONE else best}"
        )
        assert [line.split()[:3] for line in marked] == ([["*", "4", "0.375"]] if row == 0 else [])


def test_a_lettered_prompt_is_shown_in_the_order_in_which_it_was_asked(run, model_folder):
    pytest.importorskip("torch")
    from ialp_jax.llm.config import LLMConfig
    from ialp_jax.llm.model.scorer import Scorer

    arrays, manifest = store.load(run / "labels")
    config = LLMConfig(mode="choice", chat="off")
    short = templates.TEMPLATES["titles"]
    scorer = Scorer(model_folder, titles(), short, config)
    answers, _ = scorer.answer(Prompts(arrays["histories"], arrays["candidates"]))
    store.seal(run / "labels", {**manifest, **config.asking(), "template": dataclasses.asdict(short)})
    labels = label_text.read_labels(run / "labels", run / "data")
    named = np.flatnonzero(answers.choice > 0)
    assert len(np.unique(answers.places[named])) > 1
    for row in named:
        letter = letters.LETTERS[answers.places[row, 0] - 1]
        chosen = titles()[arrays["candidates"][row, answers.choice[row] - 1]]
        assert f'\n{letter}. "{chosen}"\n' in label_text.prompt_text(labels, row)


def as_replies(run, places, replies, **facts):
    """Replaces the answers in a run's only shard by these places and replies, and seals the labels anew."""
    arrays, manifest = store.load(run / "labels")
    (path,) = (run / "labels" / "shards").rglob("*.npz")
    shard = shards.read(path, path.parent.name)
    answers = shard.batch.answers._replace(places=np.array(places, np.int8), replies=np.array(replies))
    shards.write(path, path.parent.name, shard._replace(batch=shard.batch._replace(answers=answers)))
    store.seal(run / "labels", {**manifest, "mode": "generate", "permutations": 1, **facts})
    return arrays


def test_replies_are_shown_as_the_model_wrote_them(run, capsys):
    replies = [['B. "Queen"\x1b[2J', ""]] * 20
    replies[INVALID] = ["Well\nno", "I cannot"]
    places = [[2, 0]] * 20
    places[INVALID] = [-CAUSES.index("no_letter"), -CAUSES.index("refused")]
    as_replies(run, places, replies)
    blocks = output_of(capsys, run, "--number=20").split("\nprompt ")[1:]
    assert """  reply:   'B. "Queen"\\\\x1b[2J' -> B\n  answer: """ in blocks[0]
    assert "  reply:   'Well no' -> no_letter\n  reply:   'I cannot' -> refused\n" in blocks[INVALID]
    output_of(capsys, run, f"--export={run / 'a.csv'}")
    with open(run / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[4 * INVALID]["replies"] == "Well no | I cannot"
    text = output_of(capsys, run / "labels" / "shards")
    assert text.count("  reply: ") == inspect.SAMPLES


def test_replies_that_were_not_stored_differ_from_empty_ones(run, capsys):
    """A store of an older version has no array ``replies``."""
    as_replies(run, [[2]] * 20, [[""]] * 20)
    assert "  reply:   '' (not stored by an older version) -> B\n" in output_of(capsys, run, "--number=1")


def test_letters_are_shown_with_their_probabilities(run, capsys):
    arrays = as_replies(run, [[1]] * 20, [[""]] * 20, mode="choice")
    labels = label_text.read_labels(run / "labels", run / "data")
    order = label_text.first_order(labels, 0)
    expected = ", ".join(
        f"{'ABCD'[k]} {np.exp(score):.3f}" for k, score in enumerate(arrays["scores"][0][order])
    )
    assert f"  letters: {expected}, E 0.000\n  answer: " in output_of(capsys, run, "--number=1")
    as_replies(run, [[1, 3, -1]] * 20, [[""] * 3] * 20, mode="choice", permutations=3)
    text = output_of(capsys, run, "--number=1")
    assert "E 0.000 (means over all orders)\n  best letters, order by order: AC-\n" in text


def test_the_head_shows_the_warnings_about_the_labels(run, capsys):
    shares = {"bias": 0.75, "by_chance": 0.1, "answers": 40, "shares": [0, 1.0, 0, 0]}
    as_replies(run, [[2]] * 20, [["B"]] * 20, order_bias=shares)
    text = output_of(capsys, run, "--number=0")
    assert "order bias of letters: 0.75 (0.10 by chance)\n" in text
    assert "most frequent letter: B 100.0% (25.0% by chance)\n" in text
    assert "warning: the model names letter B for any item" in text


def test_filters(run, capsys):
    assert prompt_numbers(output_of(capsys, run)) == list(range(10))
    assert prompt_numbers(output_of(capsys, run, "--round=1", "--number=3")) == [10, 11, 12]
    assert prompt_numbers(output_of(capsys, run, "--invalid")) == [INVALID]
    assert prompt_numbers(output_of(capsys, run, "--none")) == [NONE]
    assert prompt_numbers(output_of(capsys, run, "--none", "--invalid")) == [INVALID, NONE]
    arrays, _ = store.load(run / "labels")
    item = int(arrays["candidates"][5, 2])
    rows = [row for row in range(20) if item in arrays["histories"][row] or item in arrays["candidates"][row]]
    assert 0 < len(rows) < 20
    assert prompt_numbers(output_of(capsys, run, f"--item={titles()[item].upper()}", "--number=20")) == rows
    assert "0 of 0 matching" in output_of(capsys, run, "--item=no such title")


def test_the_table_has_all_matching_prompts(run, capsys, tmp_path):
    output_of(capsys, run, "--round=0", "--number=1", f"--export={tmp_path / 'a.csv'}")
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    arrays, _ = store.load(run / "labels")
    assert len(rows) == 10 * 4
    np.testing.assert_array_equal([int(row["item"]) for row in rows], arrays["candidates"][:10].ravel())
    np.testing.assert_array_equal([float(row["score"]) for row in rows], arrays["scores"][:10].ravel())
    chosen = [int(row["prompt"]) for row in rows if row["chosen"] == "1"]
    assert chosen == [p for p in range(10) if p not in (INVALID, NONE)]
    of_none = rows[4 * NONE]
    assert (of_none["label"], of_none["answer"][:3], of_none["cause"]) == ("none", "4, ", "valid")
    assert rows[0]["title"] == titles()[arrays["candidates"][0, 0]]
    assert rows[0]["history"].split(" | ") == [titles()[i] for i in arrays["histories"][0] if i]


def test_answers_come_from_a_shared_store_or_from_the_plan(tmp_path, capsys):
    labelled(tmp_path / "one", tmp_path / "shared")
    text = output_of(capsys, labelled(tmp_path / "other", tmp_path / "shared"))
    for path in (tmp_path / "shared").rglob("*.npz"):
        path.unlink()
    assert "answer: invalid (no_letter)" in text
    assert output_of(capsys, tmp_path / "other") == text
    assert "answer:" not in output_of(capsys, tmp_path / "one")


def test_a_store_lists_its_contexts_and_verifies(tmp_path, capsys):
    shared = tmp_path / "shared"
    labelled(tmp_path / "run", shared)
    shards.describe(shared, {"template": {"name": "other"}}, model="unused")
    text = output_of(capsys, shared, "--verify")
    assert text.count("context ") == 2
    assert "  1 shards with 20 different prompts; 0 damaged" in text
    for words in ("model: fake", "model: unused", "template: list", "all shards are intact"):
        assert words in text
    (path,) = shared.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:-9])
    assert "0 shards with 0 different prompts; 1 damaged" in output_of(capsys, shared)
    with pytest.raises(SystemExit):
        inspect.main([str(shared), "--verify"])
    streams = capsys.readouterr()
    assert str(path) in streams.out
    assert streams.err.startswith(f"error: {shared}: 1 damaged shards")
    context = path.parent / shards.CONTEXT
    context.write_text(context.read_text().replace('"list"', '"lost"'))
    assert "context.json: altered" in output_of(capsys, shared)


def test_unreadable_files_give_a_one_line_error(run, tmp_path, capsys):
    assert "no such folder" in refused(capsys, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "neither a run's labels nor a label store" in refused(capsys, tmp_path / "empty")
    assert "cannot be written" in refused(capsys, run, f"--export={tmp_path / 'no' / 'a.csv'}")
    assert "--number" in refused(capsys, run, "--number=many")
    assert "--data" in refused(capsys, run, f"--data={tmp_path / 'empty'}")
    (run / "labels" / "manifest.json").rename(tmp_path / "manifest.json")
    assert "not finished" in refused(capsys, run)
    (tmp_path / "manifest.json").rename(run / "labels" / "manifest.json")
    path = run / "labels" / "arrays.npz"
    path.write_bytes(path.read_bytes()[:-1])
    assert "arrays.npz: altered or truncated" in refused(capsys, run)


def test_labels_can_be_in_another_folder_than_their_data(run, tmp_path, capsys):
    text = output_of(capsys, run)
    (run / "data").rename(tmp_path / "elsewhere")
    assert output_of(capsys, run, f"--data={tmp_path / 'elsewhere'}") == text


def test_the_command_loads_neither_torch_nor_jax(run):
    source = (
        "import sys; from ialp_jax.labelling import inspect; inspect.main(sys.argv[1:]);"
        "print(sorted({'jax', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", source, run], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")
    command = [sys.executable, "-m", "ialp_jax.labelling.inspect"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    for flag in ("--round", "--number", "--invalid", "--none", "--item", "--export", "--verify", "--data"):
        assert flag in done.stdout
    pipe = subprocess.Popen([*command, run], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pipe.stdout.close()
    assert (pipe.wait(60), pipe.stderr.read()) == (0, b"")


def test_a_table_with_other_columns_is_not_replaced_and_a_link_stays_a_link(run, capsys, tmp_path):
    table, linked, link = tmp_path / "a.csv", tmp_path / "linked.csv", tmp_path / "link.csv"
    link.symlink_to("a.csv")
    output_of(capsys, run, f"--export={link}")
    assert link.is_symlink()
    whole = table.read_bytes()
    linked.hardlink_to(table)
    output_of(capsys, run, "--round=0", f"--export={table}")
    assert linked.read_bytes() == whole
    assert len(table.read_bytes()) < len(whole)
    table.write_bytes(whole.replace(b"\r\n", b",notes\r\n", 1))
    refused(capsys, run, f"--export={table}")
    assert b",notes" in table.read_bytes()


def test_a_prompt_says_in_which_window_of_which_user_its_session_started(run, capsys):
    folder = run / "labels"
    arrays, manifest = store.load(folder)
    arrays |= {"window": np.arange(20) + 100, "user": np.arange(20) + 500}
    store.write_arrays(folder / "arrays.npz", arrays)
    store.seal(folder, {name: value for name, value in manifest.items() if name != "files"})
    text = output_of(capsys, run, "--round=1", "--number=1")
    assert "prompt 10 (round 1, session 0, window 110, user 510)" in text
