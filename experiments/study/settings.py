"""Settings of a study: the same methods and the same tuning budget in several worlds.

This module does not postpone annotations, because the flags read the types of fields.
"""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

from experiments.config import Config, check_fields, check_name, check_names, names_in
from experiments.study.overrides import overridden, parsed
from experiments.study.variants import Variant, base, tuned_in, variant
from ialp_jax import settings, store
from ialp_jax.agents import registry
from ialp_jax.errors import InputError
from ialp_jax.labelling.config import SOURCES
from ialp_jax.settings import setting
from ialp_jax.training.config import UNIT, CheckpointConfig, DevicesConfig, EvaluationConfig

CONFIGS = Path(__file__).parents[1] / "configs"
STUDIES = ("paper", "start")  # files in CONFIGS that are no worlds


@dataclasses.dataclass
class SearchConfig:
    """Budget of the search by successive halving; the same for every method and world.

    Attributes:
      seed: seed of the drawn configurations and of all training in the search, including pre-training; it
        must differ from the study's seed.
      num_seeds: repetitions of each configuration.
      configurations: number of configurations to try, including the default.
      env_steps: env steps of adaptation for each configuration in the first round.
      final_env_steps: env steps of adaptation for each finalist in the second round.
      points: approximate number of evaluation points; see --config.evaluation.points.
      episodes: sessions of tuning users at each evaluation point, the first and the last one included.
      finalists: number of configurations with the highest scores that enter the second round.
      extensions: largest number of values that are tried beyond each end of a list of at least four numbers,
        if the best value lies there and the score rises.
    """

    seed: int = setting(1000, at_least=0)
    num_seeds: int = setting(2, at_least=1)
    configurations: int = setting(8, at_least=1)
    env_steps: int = setting(20_000, at_least=UNIT)
    final_env_steps: int = setting(60_000, at_least=UNIT)
    points: int = setting(12, at_least=2)
    episodes: int = setting(128, at_least=1)
    finalists: int = setting(2, at_least=1)
    extensions: int = setting(2, at_least=0)

    def check(self) -> None:
        """Raises InputError if settings are invalid."""
        settings.check(self, "search")
        for name in ("env_steps", "final_env_steps"):
            if getattr(self, name) % UNIT:
                raise InputError(f"--config.search.{name}={getattr(self, name)} must be a multiple of {UNIT}")


@dataclasses.dataclass
class Study:
    """Settings of a study, which runs several methods in several worlds with many seeds.

    Attributes:
      name: name of the study; the folder of the study is runs/<name> unless --workdir is given.
      worlds: comma-separated names of files in experiments/configs; each world is a run in <workdir>/<world>.
      not_offline: comma-separated worlds that run a second time as <world>_not_offline, with a user model
        fitted without the offline users; the second run has only the methods that claim (f) needs.
      literal: comma-separated worlds that run a second time as <world>_literal, with the paper read
        literally, see experiments/configs/paper_literal.py.
      label_sets: number of sets of labels. Methods that need labels run once with each set, from the second
        set on as <world>_set2 and so on.
      sources: comma-separated label sources with which ialp_soft also runs, as <world>_by_<source>, with
        calibrated labels.
      methods: comma-separated ids of the agents to run.
      data_root: folder of the data sets.
      seed: seed of every run; all random numbers are derived from this seed.
      num_seeds: number S of independent repetitions of all training.
      env_steps: total env steps of adaptation, over all users; a multiple of 1,000.
      overrides: further settings of every run, as path=value;path=value.
      results: folder of the tables and figures; if empty, <workdir>/results.
      tuned: folder of the tuned values, with a file <world>.json per world; if empty, <workdir>/tuned.
      starts: CSV file for the returns of pre-trained policies at three temperatures, see
        `experiments.study.starts`; empty: none.
      readme: comma-separated Markdown files; the report replaces the tables between markers in these files.
      evaluation: how policies are measured; the same in every world.
      devices: how training is divided among several devices.
      checkpoint: how often a stage in progress is saved.
      tensorboard: whether runs write event files for TensorBoard to <world>/tensorboard/.
      compilation_cache: folder of compiled programs, see the setting of a run with this name.
      search: budget of the search that tunes settings.
    """

    name: str = "study"
    worlds: str = "lfm,industry,coat"
    not_offline: str = ""
    literal: str = ""
    label_sets: int = setting(1, above=0)
    sources: str = ""
    methods: str = dataclasses.field(default_factory=lambda: ",".join(registry.ids()))
    data_root: str = ""
    seed: int = 0
    num_seeds: int = 10
    env_steps: int = 200_000
    overrides: str = ""
    results: str = ""
    tuned: str = ""
    starts: str = ""
    readme: str = ""
    evaluation: EvaluationConfig = dataclasses.field(default_factory=lambda: EvaluationConfig(points=18))
    devices: DevicesConfig = dataclasses.field(default_factory=DevicesConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    tensorboard: bool = True
    compilation_cache: str = "auto"
    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)

    def check(self) -> None:
        """Raises InputError if settings are invalid."""
        check_fields(self)
        check_name(self.name)
        world_names = sorted(path.stem for path in CONFIGS.glob("[a-z]*.py") if path.stem not in STUDIES)
        for flag, choice, least in (
            ("worlds", world_names, 1),
            ("not_offline", world_names, 0),
            ("literal", world_names, 0),
            ("methods", registry.ids(), 1),
            ("sources", list(SOURCES), 0),
        ):
            check_names(f"--config.{flag}", getattr(self, flag), choice, least)
        if self.num_seeds < 1 or self.seed < 0:
            raise InputError("--config.num_seeds must be at least 1 and --config.seed at least 0")
        self.search.check()
        self.evaluation.check()
        self.devices.check()
        self.checkpoint.check()
        if self.search.seed == self.seed:
            raise InputError(
                f"--config.search.seed={self.seed}: the search needs another seed than the study"
            )
        if self.evaluation.users != "evaluation":
            raise InputError(
                "--config.evaluation.users must be 'evaluation': a study reports on evaluation users; "
                "--stage=search uses tuning users by itself"
            )
        for world in self.world_ids():
            config = self.run_config(world)
            config.check()
            check_updates(config)

    def world_ids(self) -> list[str]:
        """Ids of the runs, in order: the first run of each world, then further runs, see `variants`."""
        worlds, sources = names_in(self.worlds), ("", *names_in(self.sources))
        labelled = [
            Variant(world, False, source, number).id()
            for world in worlds
            for source in sources
            for number in range(self.label_sets)
        ]
        literal = [
            Variant(world, label_set=number, literal=True).id()
            for world in worlds
            if world in names_in(self.literal)
            for number in range(self.label_sets)
        ]
        not_offline = [Variant(world, True).id() for world in worlds if world in names_in(self.not_offline)]
        return [*worlds, *(name for name in labelled if name not in worlds), *literal, *not_offline]

    def methods_of(self, world: str) -> list[str]:
        """Ids of the agents to run in a world."""
        return variant(world).methods(names_in(self.methods), self.run_config(world))

    def run_config(self, world: str) -> Config:
        """The configuration of one world's run, without tuned values.

        Data, simulator, labels and networks come from the world's file in experiments/configs.
        """
        config = importlib.import_module(f"experiments.configs.{base(world)}").get_config()
        if not isinstance(config, Config):
            raise InputError(
                f"--config.worlds: experiments/configs/{base(world)}.py is not a run; name another file"
            )
        config.name = world
        if self.data_root:
            config.data.root = self.data_root
        config.seed, config.num_seeds = self.seed, self.num_seeds
        config.adapt.env_steps = self.env_steps
        config.adapt.agents = ",".join(registry.ids())  # the study selects the agents, not the run
        config.evaluation = dataclasses.replace(self.evaluation)
        config.devices = dataclasses.replace(self.devices)
        config.checkpoint = dataclasses.replace(self.checkpoint)
        config.tensorboard = self.tensorboard
        flag = "--config.overrides"
        config = overridden(config, parsed(config, self.overrides, flag), flag)
        return _spelled_out(overridden(config, variant(world).overrides(), world))

    def tuned_config(self, world: str, folder: Path) -> Config:
        """The configuration of one world's run with its tuned values, if the search has run there."""
        config, values = self.run_config(world), self.tuned_values(world, folder)
        source = str(self.tuned_path(world, folder))
        config = overridden(config, {p: v for tuned in values.values() for p, v in tuned.items()}, source)
        try:
            config.check()
            check_updates(config)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        return config

    def tuned_path(self, world: str, folder: Path) -> Path:
        """The file of the tuned values that a run uses, see `variants.tuned_in`."""
        return Path(self.tuned or folder / "tuned") / f"{tuned_in(world)}.json"

    def tuned_values(self, world: str, folder: Path) -> dict[str, dict[str, Any]]:
        """Tuned values by agent id and path, without settings that the variant of the run fixes.

        Empty before a search. Raises InputError for a broken file.
        """
        path = self.tuned_path(world, folder)
        values = store.read_json(path)
        if values is None:
            return {}
        known = set(registry.ids())
        if not all(isinstance(tuned, dict) for tuned in values.values()) or values.keys() - known:
            raise InputError(f"{path}: must map agent ids to settings; run --stage=search")
        fixed = variant(world).overrides()
        return {
            agent: {path: value for path, value in tuned.items() if path not in fixed}
            for agent, tuned in values.items()
        }

    def results_folder(self, folder: Path) -> Path:
        """The folder of tables and figures."""
        return Path(self.results or folder / "results")


def _spelled_out(config: Config) -> Config:
    """Gives values to pre-training settings that default to another setting; a search needs the values."""
    pretrain = config.pretrain
    for name in ("ialp_learning_rate", "soft_learning_rate", "warm_learning_rate", "sasrec_learning_rate"):
        if getattr(pretrain, name) is None:
            setattr(pretrain, name, pretrain.learning_rate)
    for name in ("ialp_updates", "soft_updates"):
        setattr(pretrain, name, getattr(pretrain, name) or pretrain.updates_per_round)
    return config


def check_updates(config: Config) -> None:
    """Raises InputError if the env steps between two updates of an agent do not divide 1,000."""
    for field in dataclasses.fields(config.agents):
        agent = getattr(config.agents, field.name)
        if not hasattr(agent, "rollout_length"):
            continue
        steps = agent.num_users * agent.rollout_length
        if UNIT % steps:
            raise InputError(
                f"--config.overrides: agents.{field.name}: num_users * rollout_length = {steps} must divide "
                f"{UNIT}"
            )
