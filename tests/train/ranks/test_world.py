"""Do several ranks, each a real process on gloo, train as one?"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.train import rank_script
from tests.train.launching import Script, nothing_is_left, wait_for
from tests.train.models import regression

CORES = os.cpu_count() or 1
UNBROKEN = ("samples", "equal", "hand", "logs", "resume nothing", "fsdp fsdp nothing")


class Found(NamedTuple):
    """What a launch of two ranks said in one mode, and what each of them found."""

    output: str
    first: dict[str, Any]
    second: dict[str, Any]


Told = dict[str, Found]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path, "rank_script.py")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """One launch of two ranks in which nothing happens."""
    script = Script(tmp_path_factory.mktemp("unbroken"), "rank_script.py")
    output = script.run(*" then ".join(UNBROKEN).split(), DEVICES="2", OMP_NUM_THREADS=str(CORES))
    outputs = dict(zip(UNBROKEN, output.split("now ")[1:], strict=True))
    return {mode: Found(outputs[mode], script.told(0)[mode], script.told(1)[mode]) for mode in UNBROKEN}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """What one device finds, in this process."""
    monkeypatch.setenv("DEVICES", "1")
    return rank_script.find


@pytest.mark.slow
def test_every_sample_once(unbroken: Told) -> None:
    """21 samples over 2 ranks: training leaves one out for even steps, the test counts each exactly once."""
    _, first, second = unbroken["samples"]
    everyone = sorted(regression(21).tensors[0][:, 0].tolist())
    for epoch in (slice(0, 10), slice(10, 20)):
        both = first["seen"][epoch] + second["seen"][epoch]
        assert len(set(both)) == 20
        assert set(both) < set(everyone)
    assert first["seen"][:10] != first["seen"][10:]
    assert sorted(first["tested"] + second["tested"]) == everyone
    assert first["scores"] == second["scores"]
    assert first["digest"] == second["digest"]


@pytest.mark.slow
def test_two_ranks_equal_one_with_the_whole_batch(unbroken: Told, alone: Callable[[str], dict[str, Any]]) -> None:
    output, first, second = unbroken["equal"]
    assert "× 2 ranks (DDP)" in output
    assert output.count("parameters") == 1  # rank 1 speaks into its log, not into the terminal
    for one, other in zip(alone("equal")["digest"], second["digest"], strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    assert first["threads"] == second["threads"] == max(1, CORES // 2)


@pytest.mark.slow
def test_two_ranks_equal_one_also_by_hand(unbroken: Told, alone: Callable[[str], dict[str, Any]]) -> None:
    _, first, second = unbroken["hand"]
    assert first["digest"] == second["digest"]
    for one, other in zip(alone("hand")["digest"], second["digest"], strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_a_sharded_run_killed_and_resumed_equals_uninterrupted(script: Script, unbroken: Told) -> None:
    output, _ = script.start("fsdp", "fsdp", "die").communicate(timeout=60)
    assert "rank 1 was killed by signal 9" in output
    again, other = "fsdp fsdp nothing last", "fsdp ddp nothing last"
    _, resumed, taken_up = script.run(*f"{again} then {other}".split()).split("now ")
    assert "going on from" in resumed
    assert script.told(0)[again] == unbroken["fsdp fsdp nothing"].first
    assert "going on from" in taken_up  # whole tensors by name: another strategy takes them up


@pytest.mark.slow
def test_metrics_are_exact_over_ranks(unbroken: Told) -> None:
    """Uneven batches, unequal counts, and a metric that only one rank logs."""
    _, first, second = unbroken["logs"]
    for told in (first, second):
        assert told["scores"]["mean"] == pytest.approx(told["mean"], rel=1e-6)
        assert told["scores"]["sum"] == pytest.approx(told["sum"], rel=1e-5)
        assert told["scores"]["max"] == told["max"]
    assert second["scores"]["only_on_rank_1"] == 3.0


@pytest.mark.slow
@pytest.mark.parametrize("what", ["die", "wait"])
def test_killed_and_resumed_equals_uninterrupted(script: Script, tmp_path: Path, unbroken: Told, what: str) -> None:
    """SIGKILL to rank 1, and to rank 0: the other never lives on, and the resumed run ends with the same weights."""
    process = script.start("resume", what)
    if what == "wait":
        ranks = psutil.Process(int(wait_for(tmp_path / "reached"))).children()
        assert len(ranks) == 1
        process.kill()
        _, alive = psutil.wait_procs(ranks, timeout=10)
        assert alive == []
        process.communicate(timeout=60)
    else:
        output, _ = process.communicate(timeout=60)
        assert process.returncode not in (0, None)
        assert "rank 1 was killed by signal 9" in output
        assert "rank 1 gives no sign of life" in output
        nothing_is_left(tmp_path)
    output = script.run("resume", "nothing", "last")
    assert "going on from" in output
    whole = unbroken["resume nothing"].first
    assert [script.told(rank)["resume nothing last"] for rank in (0, 1)] == [whole, whole]


@pytest.mark.slow
def test_a_rank_that_fails_ends_all_and_is_named(script: Script) -> None:
    process = script.start("resume", "raise")
    output, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert "rank 1 exited with code 1" in output
    assert "ValueError: rank 1 gives up" in output
    assert "RankError: 2 ranks ran together; rank 1 failed at step 5 (epoch 1, batch 1)" in output


@pytest.mark.slow
def test_sigterm_saves_on_all_ranks_and_the_rest_is_trained_later(script: Script, unbroken: Told) -> None:
    output = script.run("resume", "signal", code=128 + signal.SIGTERM)
    assert "SIGTERM: stopping after this step" in output
    assert re.search(r"stopped by SIGTERM at step \d+; go on with ckpt_path='.+'", output)
    again = script.run("resume", "time", "last", code=75)  # SIGUSR2 came to rank 1 alone, as the time was nearly up
    assert again.count("going on from") == 1
    assert "stopped by SIGUSR2" in again
    script.run("resume", "nothing", "last")
    assert script.told(0)["resume nothing last"] == unbroken["resume nothing"].first


@pytest.mark.slow
def test_a_launchers_ranks_are_taken(script: Script, tmp_path: Path) -> None:
    """As torchrun starts them, though another program holds the port: the next one is taken. One record, by rank 0."""
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = str(foreign.getsockname()[1])
        script.run_ranks(2, "equal", DEVICES="2", MASTER_PORT=port)
    assert script.told(0)["equal"]["digest"] == script.told(1)["equal"]["digest"]
    assert len(list((tmp_path / "leyden_runs").glob("*/run.json"))) == 1
