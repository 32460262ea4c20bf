import pytest
import torch
from torch import nn

from ice_lightning.checks import IceError
from ice_lightning.jacobians.linearize import Jacobian, graph_bytes
from ice_lightning.parallel import Batch, as_bytes, choose_parallelism, graphs_kept, map_threads

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_running_out_of_memory_halves_what_is_done_at_once_and_says_so(caplog):
    seen = []

    def product(V):
        seen.append(V.shape[1])
        if V.shape[1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 2 * V

    V = torch.randn(5, 13)
    batch = Batch(8)
    assert torch.equal(batch.over(product, V), 2 * V)
    assert batch.size == 2
    assert seen[:3] == [8, 4, 2]
    assert caplog.messages == [
        "out of memory: 4 products at once from here on",
        "out of memory: 2 products at once from here on",
    ]
    seen.clear()
    batch.over(product, V)
    assert max(seen) == 2  # it stays halved


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_no_memory_for_one_product_is_a_sentence(error):
    def product(V):
        raise error

    with pytest.raises(IceError, match="expected memory for one product, got none left"):
        Batch(2).over(product, torch.randn(3, 4))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def product(V):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        Batch(4).over(product, torch.randn(3, 4))


@pytest.mark.parametrize(
    "text, size", [("4GB", 4 * 2**30), ("500 MB", 500 * 2**20), ("1.5gib", 1.5 * 2**30), ("7B", 7)]
)
def test_sizes_are_read(text, size):
    assert as_bytes(text) == size


@pytest.mark.parametrize("text", ["lots", "4", "-1GB", "0GB", ""])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(IceError, match=f"an amount of memory such as 4GB, got '{text}'"):
        as_bytes(text)


def test_memory_bounds_what_is_done_at_once():
    assert choose_parallelism(GPU, None, 100, 30) == (3, 1)
    assert choose_parallelism(GPU, None, 1e9, 30).products == 64
    assert choose_parallelism(GPU, None, 10, 30).products == 1
    assert choose_parallelism(GPU, 5, 100, 30).products == 5
    assert choose_parallelism(CPU, None, 10, 30) == (1, 1)
    assert choose_parallelism(CPU, None, 1e9, 30).people == torch.get_num_threads()
    assert choose_parallelism(CPU, 8, 1e9, 30) == (8, 1)


def test_a_graph_counts_what_it_keeps_once():
    u = torch.randn(1, 1000)
    size = u.numel() * u.element_size()
    assert graph_bytes(lambda u: [u.square().square()], u) == 2 * size  # u and its square


@pytest.mark.parametrize("size", [1, 4])
def test_parts_are_told_apart_at_any_number_at_once(size):
    draw = torch.Generator().manual_seed(0)
    A, B = (torch.randn(6, n, generator=draw, dtype=torch.float64) for n in (3, 5))
    u = torch.randn(1, 6, generator=draw, dtype=torch.float64)

    def f(u):
        return [torch.tanh(u @ A), u.new_ones(len(u), 2), (u @ B).square()]

    J = [torch.func.jacrev(lambda x, i=i: f(x[None])[i][0])(u[0]) for i in range(3)]
    linear = Jacobian(f, u, batch=Batch(size))
    V = torch.randn(6, 7, generator=draw, dtype=torch.float64)
    Y = [torch.randn(len(each), 7, generator=draw, dtype=torch.float64) for each in J]
    for part, each in zip(linear.split(linear.matmat(V)), J, strict=True):
        torch.testing.assert_close(part, each @ V)
    torch.testing.assert_close(linear.adjoint_of({0: Y[0], 2: Y[2]}), J[0].T @ Y[0] + J[2].T @ Y[2])
    torch.testing.assert_close(linear.adjoint_of({1: Y[1]}), torch.zeros(6, 7, dtype=torch.float64))


def test_some_parts_share_the_graphs_of_all():
    draw = torch.Generator().manual_seed(0)
    A, B = (torch.randn(6, n, generator=draw, dtype=torch.float64) for n in (3, 5))
    u, V = (torch.randn(n, 6, generator=draw, dtype=torch.float64) for n in (1, 4))
    calls = []

    def f(u):
        calls.append(1)
        return [torch.tanh(u @ A), u.new_ones(len(u), 2), (u @ B).square()]

    J = Jacobian(f, u)
    whole = J.split(J.matmat(V.T))
    for some in ([2], [0, 2], [1, 2]):
        part = J.of(some)
        torch.testing.assert_close(part.split(part.matmat(V.T)), [whole[i] for i in some])
        inner = part.of([len(some) - 1])
        torch.testing.assert_close(inner.matmat(V.T), whole[some[-1]])
    assert len(calls) == 1


def test_graphs_are_kept_on_a_cpu_as_memory_allows():
    assert graphs_kept(CPU, 100, 10) == 4
    assert graphs_kept(CPU, 10, 10) == 0
    assert graphs_kept(GPU, 1e9, 10) == 0


def test_threads_keep_the_order_and_the_number_of_threads():
    before = torch.get_num_threads()
    net = nn.Linear(4, 4).requires_grad_(False)
    items = list(torch.randn(9, 1, 4))
    found = map_threads(net, items, 3)
    assert all(torch.equal(one, net(item)) for one, item in zip(found, items, strict=True))
    assert torch.get_num_threads() == before
