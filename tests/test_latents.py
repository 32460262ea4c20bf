import pytest
import torch

from ice_lightning.checks import IceError
from ice_lightning.latents import PADDING, LatentDataModule, People, shard


def test_people_come_in_order_and_follow_the_seed(generator):
    data = LatentDataModule(generator, "w", count=3, seed=5, batch=2)
    batches = list(data.train_dataloader())
    assert [batch["index"].tolist() for batch in batches] == [[0, 1], [2]]
    expected = generator.convert(generator.sample(3, 5), "z", "w")
    torch.testing.assert_close(torch.cat([batch["u"] for batch in batches]), expected)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_ranks_divide_the_people_in_shares_of_equal_length(ranks):
    people = People(torch.arange(7.0)[:, None])
    shares = [[int(each["index"]) for each in shard(people, ranks, rank)] for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(i for share in shares for i in share if i != PADDING) == list(range(7))


def test_sentences(generator):
    with pytest.raises(IceError, match=r"latents\.count of at least 1, got 0: raise it to 1 or more"):
        LatentDataModule(generator, "w", count=0)
    with pytest.raises(IceError, match=r"space out of z, w, w\+, s, got 'x': choose one of them"):
        LatentDataModule(generator, "x", count=1)
