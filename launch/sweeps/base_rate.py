"""How returns and the order of policies on Industry depend on the base rate of the likes.

python -m launch.sweep --config=experiments/configs/industry.py --sweep=launch/sweeps/base_rate.py \
  --config.data.root=../shared/data --workdir=runs/base_rate --config.evaluation.episodes=4096 \
  --config.adapt.agents=random,popular,oracle,sasrec --config.network.blocks=1 \
  --config.pretrain.sasrec_updates=300 --config.audit.enabled=false --config.labelling.source=popularity \
  --config.labelling.rounds=1 --config.labelling.sessions=20 --config.num_seeds=1 \
  --config.pretrain.evaluations=2
python -m launch.collect runs/base_rate

None of these policies uses the labels, so a rule makes a few. All jobs take 7 minutes on 2 CPU cores.
"""

SWEEP = {"grid": {"simulator.user_model.base_rate": [10.0, 20.0, 40.0, 80.0]}}
