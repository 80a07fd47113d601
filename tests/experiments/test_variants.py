"""The ids of a study's runs: other user models, sets of labels and label sources."""

from __future__ import annotations

import json

import pytest

from experiments.configs.paper_literal import LITERAL
from experiments.study.configurations import draw
from experiments.study.search import space_in
from experiments.study.settings import Study
from experiments.study.variants import Variant, base, is_first, tuned_in, variant
from ialp_jax.errors import InputError

IDS = {
    "lfm": Variant("lfm"),
    "lfm_not_offline": Variant("lfm", not_offline=True),
    "lfm_set2": Variant("lfm", label_set=1),
    "lfm_literal": Variant("lfm", literal=True),
    "lfm_literal_set2": Variant("lfm", label_set=1, literal=True),
    "lfm_by_log_model": Variant("lfm", source="log_model"),
    "lfm_by_llm_and_log_model_set3": Variant("lfm", source="llm+log_model", label_set=2),
}


@pytest.mark.parametrize("name", IDS)
def test_an_id_says_what_a_run_is(name):
    assert variant(name) == IDS[name]
    assert IDS[name].id() == name
    assert base(name) == "lfm"
    assert is_first(name) == (name == "lfm")
    assert tuned_in(name) == ("lfm_literal" if IDS[name].literal else "lfm")


def study(**changes):
    made = Study(worlds="lfm,coat", methods="random,dqn,a2c_warm,ialp,ialp_soft,a_ialp_ft,rlpd", **changes)
    made.check()
    return made


def test_further_runs_have_the_methods_that_they_concern():
    several = study(not_offline="coat", label_sets=2, sources="log_model,llm+log_model")
    assert several.world_ids() == [
        *("lfm", "coat", "lfm_set2", "lfm_by_log_model", "lfm_by_log_model_set2"),
        *("lfm_by_llm_and_log_model", "lfm_by_llm_and_log_model_set2"),
        *("coat_set2", "coat_by_log_model", "coat_by_log_model_set2"),
        *("coat_by_llm_and_log_model", "coat_by_llm_and_log_model_set2", "coat_not_offline"),
    ]
    assert several.methods_of("lfm_set2") == ["ialp", "ialp_soft", "a_ialp_ft", "rlpd"]
    assert several.methods_of("lfm_by_log_model_set2") == ["ialp_soft"]
    assert several.methods_of("coat_not_offline") == ["random", "dqn", "ialp"]
    from_logs = study(label_sets=2, overrides="agents.a_ialp_ft.start_from=a2c_warm")
    assert "a_ialp_ft" not in from_logs.methods_of("lfm_set2")


def test_further_runs_differ_only_in_their_variant():
    several = study(label_sets=2, sources="llm+log_model")
    first, other = (several.run_config(world) for world in ("lfm", "lfm_by_llm_and_log_model_set2"))
    assert (other.labelling.source, other.labelling.calibration) == ("llm+log_model", "logistic")
    assert (other.labelling.label_set, first.labelling.label_set) == (1, 0)
    assert (other.seed, other.simulator) == (first.seed, first.simulator)
    with pytest.raises(InputError, match="sources"):
        study(sources="moon")


@pytest.mark.parametrize("method", ["ialp", "a_ialp_ft", "a_ialp_ap"])
def test_whatever_the_search_chooses_fits_the_literal_reading(method, tmp_path):
    one = study(literal="coat", tuned=str(tmp_path))
    config = one.run_config("coat_literal")
    for values in draw(space_in("coat_literal", method), config, 30, seed=0):
        assert not values.keys() & LITERAL.keys()
        (tmp_path / "coat_literal.json").write_text(json.dumps({method: values}))
        one.tuned_config("coat_literal", tmp_path)  # checks the settings


def test_literal_runs_have_tuned_values_of_their_own_and_keep_the_papers_settings(tmp_path):
    several = study(literal="coat", label_sets=2, tuned=str(tmp_path))
    assert several.world_ids()[-2:] == ["coat_literal", "coat_literal_set2"]
    assert several.methods_of("coat_literal") == ["ialp", "a_ialp_ft"]
    tuned = {
        "ialp": {"agents.ialp.actor_weight": "reward", "pretrain.ialp_updates": 7},
        "a_ialp_ap": {"agents.a_ialp_ap.start": "pretrained", "agents.a_ialp_ap.critic_start": "pretrained"},
    }
    (tmp_path / "coat.json").write_text(json.dumps(tuned))
    tuned["ialp"]["pretrain.ialp_updates"] = 8
    (tmp_path / "coat_literal.json").write_text(json.dumps(tuned))
    literal, first = (several.tuned_config(world, tmp_path) for world in ("coat_literal_set2", "coat"))
    assert (literal.agents.ialp.actor_weight, first.agents.ialp.actor_weight) == ("q", "reward")
    assert (literal.agents.a_ialp_ap.start, first.agents.a_ialp_ap.start) == ("random", "pretrained")
    assert (literal.pretrain.ialp_updates, first.pretrain.ialp_updates) == (8, 7)
    assert literal.labelling.label_set == 1
    with pytest.raises(InputError, match="literal"):
        study(literal="moon")
