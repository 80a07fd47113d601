"""User models: the probability that each user likes each item, fitted to logged interactions.

`fit.fit` turns a ``Dataset`` into a calibrated ``UserModel`` and its validation metrics:

1. ``config.py``: the settings (``--config.simulator.user_model``).
2. ``holdout.py`` assigns each interaction to training, validation or test.
3. A model family computes user and item factors: ``implicit_mf.py`` from likes by alternating least squares,
   ``graph_filter.py`` from likes by a singular value decomposition, and ``explicit_mf.py`` from ratings.
   ``fit_ratings.py`` runs all steps for ``explicit_mf``.
4. ``ranking.py`` measures how well a model ranks held-out likes, to choose the best settings.
5. ``calibration.py`` turns scores into probabilities.
6. ``validation.py`` computes the reported metrics on test interactions.

``predict.py`` reads a fitted model: scores, log-odds, probabilities. ``evaluation_model.py`` fits a second
model, if training and evaluation need different user models.
"""
