"""Are strategies chosen, checked and described, and the parts they work on found, before any rank starts?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor.parallel import ColwiseParallel

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train import strategies
from leyden.train.parallel import tensor_parallel, wrapping
from leyden.train.parallel.meta import materialise
from leyden.train.strategies import DDP, FSDP, Offload, Strategy, TensorParallel
from tests.train.models import Line, loader, same, seeded, weights


class Block(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layer, self.runs = nn.Linear(width, width), 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return torch.tanh(self.layer(x))


def plan(**layers: Any) -> TensorParallel:
    return TensorParallel(plan=layers, size=2)


def test_words_and_objects() -> None:
    assert strategies.choose("auto") == strategies.choose("ddp") == DDP()
    assert strategies.choose("ddp_find_unused_parameters_true") == DDP(find_unused_parameters=True)
    assert strategies.choose("fsdp") == FSDP()
    assert isinstance(strategies.choose("offload"), Offload)
    given = FSDP(replicate=2)
    assert strategies.choose(given) is given
    with pytest.raises(ConfigurationError, match="did you mean 'fsdp'"):
        strategies.choose("fdsp")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FSDP(wrap="blocks"), 'the only word it takes is "auto".*wrap=Block'),
        (lambda: FSDP(state_dict="parts"), "it is unknown. known: full, sharded"),
        (lambda: FSDP(replicate=0), "Set replicate=1"),
        (lambda: TensorParallel(plan={}, size=2), "it names no layer"),
        (lambda: TensorParallel(plan={"a": "colwise"}, size=1), "Set size=2 or more"),
    ],
)
def test_options_that_cannot_work(make: Callable[[], Strategy], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


@pytest.mark.parametrize(
    ("strategy", "devices", "precision", "message"),
    [
        (FSDP(replicate=3), 4, "32-true", "Set replicate to 1, 2 or 4, or change devices"),
        (FSDP(reshard_after_forward=3), 4, "32-true", "Set reshard_after_forward to True, False"),
        (plan(net="colwise"), 3, "32-true", r"TensorParallel\(size=2\) over 3 ranks; .* to a multiple of 2"),
        (plan(net="colwise"), 1, "32-true", "over 1 rank; 1 cannot be divided by 2. Set devices"),
        (plan(net="colwise"), 2, "16-mixed", 'Use precision="bf16-mixed"'),
        ("offload", 2, "bf16-true", "Set devices=1"),
    ],
)
def test_devices_and_precisions_that_do_not_fit(
    strategy: Strategy | str, devices: int, precision: str, message: str
) -> None:
    """Said by the Trainer before it starts a rank."""
    trainer = leyden.Trainer(accelerator="cpu", devices=devices, strategy=strategy, precision=precision)
    with pytest.raises(ConfigurationError, match=message):
        trainer.fit(Line(), loader())


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", FSDP(replicate=4, cpu_offload=True), DDP(static_graph=True)])
def test_one_device_runs_plain(strategy: Strategy | str) -> None:
    plain, chosen = seeded(dropout=0.2), seeded(dropout=0.2)
    leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False).fit(plain, loader())
    chosen = seeded(dropout=0.2)
    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, strategy=strategy)
    trainer.fit(chosen, loader())
    assert same(weights(plain), weights(chosen))
    assert trainer.plan.describe() == "cpu, 32-true"


def test_blocks_are_what_repeats() -> None:
    stem, head = nn.Linear(4, 4), nn.Linear(4, 4)
    inner, block = nn.ModuleList([Block(), Block()]), Block()
    lists = nn.ModuleList([inner, block])
    sequence = nn.Sequential(Block(), nn.ReLU(), Block())
    layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))  # too small to be worth it
    module = nn.ModuleDict({"stem": stem, "lists": lists, "sequence": sequence, "layers": layers, "head": head})
    assert wrapping.blocks(module) == [*inner, block, sequence[0], sequence[2]]


def test_inner_blocks_count_when_they_are_large() -> None:
    with torch.device("meta"):
        large = nn.ModuleList(Block(1000) for _ in range(2))
        small = nn.ModuleList(Block(10) for _ in range(2))
        outer = nn.ModuleList([nn.Sequential(large, small)])
    assert wrapping.blocks(outer) == [*large, outer[0]]


def test_without_repetition_blocks_are_what_is_large() -> None:
    with torch.device("meta"):
        large = nn.Sequential(nn.Linear(1000, 1000), nn.ReLU())
        module = nn.Sequential(nn.Linear(10, 1000), large, nn.Linear(1000, 10))
    assert wrapping.blocks(module) == [large[0], large]


def test_blocks_can_be_chosen() -> None:
    module = nn.Sequential(Block(), nn.Linear(4, 4), nn.ReLU())
    assert wrapping.find(module, Block) == [module[0]]
    assert wrapping.find(module, (Block, nn.ReLU)) == [module[0]]  # what has no parameters is nothing to gather
    assert wrapping.find(module, lambda one: isinstance(one, nn.Linear)) == [module[1], module[0].layer]
    with pytest.raises(ConfigurationError, match=r"chosen by Conv2d; no submodule is one\. It has Block, Linear"):
        wrapping.find(module, nn.Conv2d)


def test_blocks_that_share_a_parameter_stay_together() -> None:
    blocks, last = [Block(), Block(), Block()], nn.Linear(4, 4)
    module = nn.Sequential(*blocks, last)
    parts: list[nn.Module] = [*blocks]
    assert wrapping.untied(module, parts) == blocks
    blocks[0].layer.weight = last.weight
    assert wrapping.untied(module, parts) == blocks[1:]
    blocks[1].layer.bias = blocks[2].layer.bias
    assert wrapping.untied(module, parts) == []


def test_recomputation_changes_time_not_numbers() -> None:
    class Deep(Line):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 4), Block(), nn.Dropout(0.3), Block(), nn.Linear(4, 1))

    def train(strategy: Strategy) -> tuple[list[Tensor], list[int], Deep]:
        leyden.seed_everything(7)
        module = Deep()
        trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, strategy=strategy)
        trainer.fit(module, loader())
        return weights(module), [one.runs for one in wrapping.find(module, Block)], module  # type: ignore[misc]

    plain, once, _ = train(DDP())
    again, twice, module = train(DDP(activation_checkpointing=True))
    assert same(plain, again)
    assert once == [8, 8]
    assert twice == [16, 16]
    wrapping.recompute(module, False)
    assert not any("forward" in one.__dict__ for one in module.modules())
    with pytest.raises(ConfigurationError, match="Name classes instead: activation_checkpointing=Block"):
        wrapping.recompute(Line(), True)


def test_memory_is_given_to_what_was_built_without() -> None:
    with torch.device("meta"):
        first, norm, last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)
        bare = nn.Sequential(first, norm, nn.MultiheadAttention(4, 2), last)
    first.weight = last.weight
    ready = nn.Linear(4, 4)
    before = ready.weight.clone()
    module = nn.Sequential(ready, bare)
    materialise(module, torch.device("cpu"))
    assert all(one.device.type == "cpu" for one in (*module.parameters(), *module.buffers()))
    assert all(one.isfinite().all() for one in module.parameters())
    assert first.weight is last.weight
    assert torch.equal(norm.running_var, torch.ones(4))  # type: ignore[arg-type]
    assert torch.equal(ready.weight, before)


def test_what_nobody_can_fill_is_named() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1, device="meta"))

    with pytest.raises(ConfigurationError, match=r"1\.scale was built on the meta device; Scaled has no reset_para"):
        materialise(nn.Sequential(nn.Linear(2, 2), Scaled()), torch.device("cpu"))


def test_a_plan_names_layers_by_pattern() -> None:
    blocks, words = [Block(), Block()], nn.Embedding(6, 4)
    module = nn.ModuleDict({"blocks": nn.ModuleList(blocks), "words": words})
    own = ColwiseParallel()
    found = tensor_parallel.styles(module, plan(**{"blocks.*.layer": "rowwise", "words": own}))
    assert set(found) == {blocks[0].layer, blocks[1].layer, words}
    assert found[words] is own
    assert tensor_parallel.styles(module, TensorParallel(plan=lambda module, mesh: None, size=2)) == {}


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"nets": "colwise"}, "no submodule of ModuleDict is called so. did you mean 'net'"),
        ({"net": "columnwise"}, "did you mean 'colwise'"),
        ({"norm": "colwise"}, "it is a LayerNorm, which PyTorch cannot divide"),
        ({"net": "colwise"}, "its weight is 3 × 4, and 3 cannot be divided evenly. Choose a size that divides 3"),
        ({"words": "rowwise"}, "its weight is 5 × 4, and 5 cannot"),
        ({"tied": "colwise"}, "they are shared by a Linear and a Linear"),
    ],
)
def test_plans_that_cannot_work(layers: dict[str, Any], message: str) -> None:
    tied = nn.Linear(4, 4)
    module = nn.ModuleDict(
        {
            "net": nn.Linear(4, 3),
            "norm": nn.LayerNorm(4),
            "words": nn.Embedding(5, 4),
            "tied": tied,
            "other": nn.Linear(4, 4),
        }
    )
    module["other"].weight = tied.weight
    with pytest.raises(ConfigurationError, match=message):
        tensor_parallel.styles(module, plan(**layers))
