"""Does every strategy train to the same weights? Real ranks on gloo, against one device in this process."""

from __future__ import annotations

import json
import os
import socket
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import hatchery
from tests.train import shard_script
from tests.train.shard_script import CASES, Case, OnMeta, Small

ROOT = Path(__file__).parents[3]
SCRIPT = Path(shard_script.__file__)
ON_TWO = (
    "fsdp",
    "offload",
    "recompute",
    "recompute copies",
    "value",
    "fp16",
    "fp16 copies",
    "bf16",
    "fp64",
    "hand",
    "meta",
    "looks",
    "skips",
    "tokens",
    "tensor",
    "sequence",
    "again:fsdp",
    "refused",
)
ON_FOUR = ("hsdp", "tensor recompute", "tensor copies", "again:tensor")

pytestmark = pytest.mark.slow
Told = list[dict[str, Any]]
"""What each rank told: by case, what came of it."""


def launch(folder: Path, ranks: int, *cases: str, **variables: str) -> Told:
    """As torchrun does: RANK and WORLD_SIZE say who is who."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = os.environ | {
        "RESULTS": str(folder),
        "PYTHONPATH": str(ROOT),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    logs = [folder / f"log{rank}" for rank in range(ranks)]
    running = []
    for rank, log in enumerate(logs):
        mine = environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        with log.open("w") as file:
            words = [str(SCRIPT), *cases]
            running.append(hatchery.start(words, cwd=folder, environ=mine, output=file.fileno()))
    codes = [one.wait(timeout=240) for one in running]
    assert codes == [0] * ranks, "\n".join(log.read_text()[-3000:] for log in logs)
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(ranks)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return launch(tmp_path_factory.mktemp("two"), 2, *ON_TWO)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return launch(tmp_path_factory.mktemp("four"), 4, *ON_FOUR)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@cache
def alone(build: Any, **settings: Any) -> dict[str, Any]:
    """The same on one device, with whole batches."""
    CASES["alone"] = Case("auto", build, **settings)
    return shard_script.train("alone", devices=1, shares=1)


def assert_equal(found: dict[str, Any], reference: dict[str, Any], *, rel: float = 1e-4, abs: float = 2e-6) -> None:  # noqa: A002
    """Losses of every epoch, validation, weights and the optimizer's moments, up to the order of additions."""
    assert found["losses"] == pytest.approx(reference["losses"], rel=rel)
    assert found["val_loss"] == pytest.approx(reference["val_loss"], rel=rel)
    assert len(found["weights"]) == len(reference["weights"])
    for one, other in zip(found["weights"], reference["weights"], strict=True):
        assert one == pytest.approx(other, rel=rel, abs=abs)
    assert found["optimizer"].keys() == reference["optimizer"].keys()
    for name, one in found["optimizer"].items():
        assert one == pytest.approx(reference["optimizer"][name], rel=10 * rel, abs=10 * abs), name


def assert_ranks_agree(told: Told, case: str) -> None:
    for one in told[1:]:
        assert one[case]["losses"] == told[0][case]["losses"]
        assert one[case]["val_loss"] == told[0][case]["val_loss"]


@pytest.mark.parametrize("case", ["fsdp", "offload", "recompute", "recompute copies", "tensor"])
def test_two_ranks_equal_one_device(two: Told, case: str) -> None:
    """Under accumulation and clipping; validation on 13 samples, each once."""
    assert_equal(two[0][case], alone(Small))
    assert_ranks_agree(two, case)


@pytest.mark.parametrize("case", ["hsdp", "tensor recompute", "tensor copies"])
def test_four_ranks_equal_one_device(four: Told, case: str) -> None:
    assert_equal(four[0][case], alone(Small))
    assert_ranks_agree(four, case)


def test_double_precision_equals_one_device_to_the_last_digits(two: Told) -> None:
    assert_equal(two[0]["fp64"], alone(Small, precision="64-true"), rel=1e-13, abs=1e-14)


def test_accumulation_by_tokens_equals_one_device(two: Told) -> None:
    """Ranks that compute layers together count their tokens once."""
    assert_equal(two[0]["tokens"], alone(shard_script.Counting, accumulate_by="tokens"))


def test_a_window_that_ends_with_a_skipped_batch_equals_one_device(two: Told) -> None:
    assert_equal(two[0]["skips"], alone(shard_script.Skipping))


def test_clipping_by_value_equals_one_device(two: Told) -> None:
    assert_equal(two[0]["value"], alone(Small, gradient_clip_algorithm="value"))


def test_activations_divided_along_the_sequence_equal_one_device(two: Told) -> None:
    assert_equal(two[0]["sequence"], alone(shard_script.Along))
    assert_ranks_agree(two, "sequence")


def test_weights_gathered_before_a_step_are_not_used_after_it(two: Told) -> None:
    assert_equal(two[0]["looks"], alone(Small))


def test_networks_optimized_by_hand_equal_one_device(two: Told) -> None:
    assert_equal(two[0]["hand"], alone(shard_script.Twins))


def test_mixed_precision_is_near_to_full_and_to_copies(two: Told) -> None:
    full, bf16 = alone(Small), two[0]["bf16"]
    assert bf16["losses"] == pytest.approx(full["losses"], rel=0.02)
    assert bf16["losses"] != pytest.approx(full["losses"], rel=1e-5)
    fp16, copies = two[0]["fp16"], two[0]["fp16 copies"]
    assert fp16["losses"] == pytest.approx(copies["losses"], rel=1e-3)  # steps skipped by the scaler included
    assert_ranks_agree(two, "fp16")


def test_each_rank_holds_its_part(two: Told, four: Told) -> None:
    whole = alone(Small)["held"]
    assert two[0]["recompute copies"]["held"] == whole
    for case in ("fsdp", "offload", "meta"):
        assert sum(one[case]["held"] for one in two) == whole
    assert sum(one["hand"]["held"] for one in two) == alone(shard_script.Twins)["held"]
    halves = [one["hsdp"]["held"] for one in four]
    assert sum(halves) == 2 * whole
    assert halves[:2] == halves[2:]
    # Norms, the last layer and a scale are not in the plan: ranks of a layer hold the same part of them.
    beside = 2 * (8 + 8) + 2 * (8 + 8) + (8 + 1) + 1
    assert sum(one["tensor recompute"]["held"] for one in four) == whole + beside


def test_recomputation_runs_every_block_once_more_for_each_backward(two: Told, four: Told) -> None:
    """Four micro-batches in each of two epochs."""
    plain = two[0]["fsdp"]["runs"]
    for told in (two[0]["recompute"], two[0]["recompute copies"], four[0]["tensor recompute"]):
        assert [more - once for more, once in zip(told["runs"], plain, strict=True)] == [8, 8]


def test_a_module_built_without_memory_trains(two: Told) -> None:
    found = two[0]["meta"]
    assert found["losses"][1] < found["losses"][0]
    assert_ranks_agree(two, "meta")
    assert CASES["meta"].build is OnMeta


@pytest.mark.parametrize("case", ["again:fsdp", "again:tensor"])
def test_resumed_training_equals_uninterrupted_to_the_bit(two: Told, four: Told, case: str) -> None:
    """With dropout: random numbers of every rank go on, and ranks that compute layers together draw the same."""
    told = two if case == "again:fsdp" else four
    for one in told:
        whole, rest = one[case]["whole"], one[case]["rest"]
        assert rest["weights"] == whole["weights"]
        assert rest["optimizer"] == whole["optimizer"]
        assert rest["losses"] == whole["losses"]
        assert rest["val_loss"] == whole["val_loss"]
        assert whole["losses"] == told[0][case]["whole"]["losses"]


@pytest.mark.parametrize(
    ("what", "found", "do"),
    [
        ("a parameter beside networks by hand", "it holds scale itself", "a submodule of its own"),
        ("a parameter of two networks by hand", "its networks left, right share parameters", "a submodule of its own"),
        ("batch norm", "every rank would keep other running statistics", "Set sync_batchnorm=True"),
        ("LBFGS", "all weights and gradients in one vector", 'Use strategy="ddp"'),
        ("parts that fit the memory", "none can take smaller parts alone", "Give a number"),
        ("a skipped exchange", "in the backward pass of that batch", "0.0 * loss"),
        ("a static graph", "in the first backward pass", "Leave static_graph out"),
    ],
)
def test_what_cannot_be_divided_is_refused(two: Told, what: str, found: str, do: str) -> None:
    for rank in two:
        assert found in rank["refused"][what]
        assert do in rank["refused"][what]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two NVIDIA GPUs")
def test_two_gpus_equal_one_device(tmp_path: Path) -> None:
    cases = ("fsdp", "offload", "recompute", "tensor")
    told = launch(tmp_path, 2, *cases, "again:offload", ACCELERATOR="gpu")
    for case in cases:
        assert_equal(told[0][case], alone(Small), rel=1e-3, abs=1e-4)
    assert told[0]["again:offload"]["whole"]["weights"] == told[0]["again:offload"]["rest"]["weights"]


def test_ranks_are_described(two: Told, four: Told) -> None:
    assert two[0]["fsdp"]["plan"] == "cpu × 2 ranks (FSDP), 32-true"
    assert four[0]["hsdp"]["plan"] == "cpu × 4 ranks (HSDP, 2 × 2), 32-true"
    assert four[0]["tensor recompute"]["plan"] == "cpu × 4 ranks (tensor parallel 2; FSDP over 2), 32-true"
