import numpy as np

from ialp_jax.data import DataConfig, DemoConfig, load
from ialp_jax.training.groups import TASTES, groups_of
from ialp_jax.types import OFFLINE


def test_users_who_like_unpopular_items_are_niche():
    dataset = load(DataConfig(demo=DemoConfig(users=200, items=120, genres=4)))
    groups = groups_of(dataset)
    assert groups.names == TASTES == ("mainstream", "niche")
    np.testing.assert_array_equal(groups.category, dataset.catalogue.categories)
    likes = np.zeros(dataset.catalogue.num_items + 1)
    for user in dataset.users(OFFLINE):
        likes[dataset.histories.of(user)] += 1
    mean = np.array([np.log1p(likes[dataset.histories.of(user)]).mean() for user in range(200)])
    assert mean[groups.user == 1].max() < mean[groups.user == 0].min()
    assert abs(groups.user.mean() - 0.5) < 0.02
