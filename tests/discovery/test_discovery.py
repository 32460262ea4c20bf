import pytest
import torch

from ice_lightning.checks import Unreadable
from ice_lightning.discovery.discover import check_readable
from ice_lightning.discovery.module import Discovery, seed_of
from ice_lightning.solvers.exact import FullJacobian
from ice_lightning.solvers.krylov import BlockKrylov
from ice_lightning.tasks.build import build_criterion


@pytest.fixture
def module(compose, generator, faces):
    criterion = build_criterion(compose("criterion=paper/skin_color").criterion, faces, 128)
    return Discovery(generator, faces, criterion, FullJacobian(), 8, "w")


def test_an_odd_person_is_left_out_and_named(module, generator):
    module.add({0: torch.full((1, generator.dim("w")), torch.nan)})
    assert module.people_used == 0
    assert module.people_skipped == {"a finite image": 1}


def test_features_that_are_not_finite_are_named(module, generator, monkeypatch):
    u = generator.convert(generator.sample(1), "z", "w")
    monkeypatch.setattr(type(module.terms[0]), "forward", lambda self, image, analysis: image.mean((2, 3)) / 0 * 0)
    module.add({0: u})
    assert module.people_skipped == {f"finite {module.terms[0].label}": 1}


def test_graphs_are_kept_where_there_is_room_which_changes_nothing(compose, generator, faces):
    criterion = build_criterion(compose("criterion=skin_color").criterion, faces, 128)
    u = generator.convert(generator.sample(2), "z", "s")
    kept, products = [], []
    for memory in ("1MB", "4GB"):
        module = Discovery(generator, faces, criterion, BlockKrylov(memory=memory), 2, "s", "128px-")
        for _ in range(3):
            module.add(dict(enumerate(u.split(1))))
            replies = module.replies()
            module.state, module.passes = module.solver.step(module.problem, module.state, replies), module.passes + 1
            module.clear()
        kept.append(set(module.kept))
        products.append(replies[0].products[0])
    assert kept == [set(), {0, 1}]
    torch.testing.assert_close(*products, rtol=1e-3, atol=1e-3 * float(products[0].abs().max()))


def test_random_rows_have_nothing_to_do_with_latents(generator):
    # The latents of person i come from the seed i as well, where latents.seed is 0.
    people, passes = range(40), range(3)
    z = generator.sample(len(people), 0)
    seeds = {(person, number): seed_of(person, number) for person in people for number in passes}
    assert len(set(seeds.values())) == len(seeds)
    rows = [torch.randn(z.shape[1], generator=torch.Generator().manual_seed(seed)) for seed in seeds.values()]
    rows = torch.stack(rows)
    cosines = torch.nn.functional.normalize(rows) @ torch.nn.functional.normalize(z).T
    assert cosines.abs().max() < 0.75  # of 4,800 pairs with 48 coordinates; the same draw would have 1


@pytest.mark.parametrize("content", [b"", b"junk", [1], {"settings": {}}], ids=["empty", "junk", "a list", "foreign"])
def test_a_broken_or_foreign_checkpoint_is_refused_in_a_sentence(content, tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(Unreadable, match=r"a checkpoint .*last.ckpt, got .*: set ckpt_path to last.ckpt"):
        check_readable(path)
