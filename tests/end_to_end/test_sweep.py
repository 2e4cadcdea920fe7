"""Sweeps from the command line to their end: real servers, real jobs, of small scripts that say what they did."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from leyden.client import embedded
from tests.end_to_end.conftest import LEYDEN, Platform, until

# Each epoch is noted where the test can read it, so that one trained twice is seen.
LADDER = """
import argparse, json, pathlib, leyden
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--epochs", type=int, default=9)
args = parser.parse_args()
found = leyden.latest_checkpoint()
epoch = json.loads(found.read_text())["epoch"] if found else 0
while epoch < args.epochs:
    epoch += 1
    with (leyden.run_dir() / "epochs").open("a") as file:
        file.write(f"{epoch}\\n")
    state = pathlib.Path("state.json")
    state.write_text(json.dumps({"epoch": epoch, "lr": args.lr}))
    leyden.checkpoint(state)
    leyden.report(epoch, {"val_loss": abs(args.lr - 0.3) + 1 / epoch})
"""
POINT = """
import argparse, sys, leyden
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--width", type=int, default=1)
parser.add_argument("--amp", action="store_true")
args = parser.parse_args()
if args.lr == 7:
    raise ValueError("no such rate")
if args.lr == 8:
    raise MemoryError("out of memory: 80 GB asked for")
value = float("nan") if args.lr == 9 else abs(args.lr - 0.25) + args.width + args.amp
leyden.log({"other" if args.lr == 6 else "val_loss": value})
"""
PASSING = """
import argparse, time, leyden
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
args = parser.parse_args()
leyden.log({"val_acc": 0.5}, step=0)
leyden.log({"val_acc": args.lr}, step=1)
leyden.log({"val_acc": 0.1}, step=2)
if args.lr == 0.9:
    time.sleep(600)
"""
SLOW = """
import argparse, pathlib, time, leyden
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--until")
args = parser.parse_args()
while not pathlib.Path(args.until).exists():
    time.sleep(0.02)
leyden.log({"val_loss": args.lr})
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform for all that leave nothing running."""
    one = Platform(tmp_path_factory.mktemp("lab"))
    for name, text in (("ladder.py", LADDER), ("point.py", POINT), ("slow.py", SLOW)):
        one.write(name, text)
    try:
        yield one
    finally:
        one.close()


def sweep(platform: Platform, *words: str, check: int = 0) -> dict[str, Any]:
    """Run one to its end; all of it."""
    platform.leyden("sweep", "--cpus", "1", *words, check=check)
    return dict(platform.json("sweep", "show", "last"))


def has_measured(platform: Platform, enough: int, *, other_than: str) -> bool:
    found = now(platform)
    return found["sweep"]["id"] != other_than and sum(len(one["curve"]) for one in found["trials"]) >= enough


def now(platform: Platform) -> dict[str, Any]:
    """The newest sweep, asked for without a command: it is asked for often."""
    client = embedded.connect(platform.home)
    assert client is not None
    return asdict(client.sweeps.get("last"))


def by_state(found: dict[str, Any]) -> dict[str, list[int]]:
    states: dict[str, list[int]] = {}
    for one in found["trials"]:
        states.setdefault(one["state"], []).append(one["number"])
    return states


def test_a_grid_runs_every_point_and_the_best_one_can_be_typed(lab: Platform) -> None:
    words = ("--metric", "val_loss:min", "point.py", "--lr", "[0.1, 0.25]", "--width", "[1, 2]", "--amp", "flag()")
    found = sweep(lab, *words)
    params = [(one["params"]["lr"], one["params"]["width"], one["params"]["amp"]) for one in found["trials"]]
    assert params == [(lr, width, amp) for lr in (0.1, 0.25) for width in (1, 2) for amp in (True, False)]
    assert [one["value"] for one in found["trials"]] == [pytest.approx(abs(lr - 0.25) + w + a) for lr, w, a in params]
    assert found["sweep"]["best"]["number"] == params.index((0.25, 1, False))
    typed = lab.leyden("sweep", "best").stdout.split()
    assert typed == ["leyden", "run", "point.py", "--lr", "0.25", "--width", "1"]
    lab.leyden(*typed[1:])
    assert {one["name"]: one["last"] for one in lab.json("metrics", "last")}["val_loss"] == 1.0
    rows = list(csv.DictReader(io.StringIO(lab.leyden("sweep", "export", found["sweep"]["id"]).stdout)))
    assert [float(row["val_loss"]) for row in rows] == [one["value"] for one in found["trials"]]
    assert rows[5]["job"] == found["trials"][5]["job_id"]
    shares = dict(csv.reader(io.StringIO(lab.leyden("sweep", "export", found["sweep"]["id"], "--importance").stdout)))
    assert float(shares["width"]) > 0.3 > float(shares["lr"]), "width and amp vary by 1, lr by 0.15"
    assert found["sweep"]["id"] in [one["id"] for one in lab.json("sweep", "list")]


def test_trials_pause_at_rungs_and_nothing_is_trained_twice(lab: Platform) -> None:
    words = ("--metric", "val_loss:min", "--max-epochs", "9", "--trials", "9", "ladder.py", "--lr", "uniform(0, 1)")
    found = sweep(lab, "--strategy", "hyperband", "--eta", "3", "--seed", "3", *words)
    first = [(one["resource"], one["reached"], one["gone_on"]) for one in found["rungs"] if one["bracket"] == 0]
    assert first == [(1, 9, 3), (3, 3, 1), (9, 1, 0)]
    for one in found["trials"]:
        run = lab.home.runs / one["job_id"]
        epochs = [int(line) for line in (run / "epochs").read_text().split()]
        assert epochs == list(range(1, one["resource"] + 1)), "every epoch once, in order, in one run"
        assert (
            one["curve"]
            == [[level, pytest.approx(abs(one["params"]["lr"] - 0.3) + 1 / level)] for level in (1, 3, 9)][
                : len(one["curve"])
            ]
        )
    best = min(found["trials"], key=lambda one: abs(one["params"]["lr"] - 0.3))
    assert found["sweep"]["best"]["number"] == best["number"]
    assert best["state"] == "done"
    assert best["resource"] == 9
    assert by_state(found)["dropped"] == [one["number"] for one in found["trials"] if one["number"] != best["number"]]
    left = next(one for one in found["trials"] if one["resource"] == 1)
    assert left["note"] == "not let past rung 1"
    shown = lab.json("show", left["job_id"])
    assert (shown["job"]["state"], shown["job"]["reason"]) == ("cancelled", "not let past rung 1")
    assert found["sweep"]["device_s"] < 30.0


def test_failures_are_told_apart_and_the_sweep_goes_on(lab: Platform) -> None:
    found = sweep(lab, "--metric", "val_loss:min", "point.py", "--lr", "[7, 8, 9, 6, 0.5, 0.25]")
    notes = {one["params"]["lr"]: one["note"] for one in found["trials"] if one["state"] == "failed"}
    assert set(notes) == {7, 8, 9, 6}
    assert notes[7].endswith("ValueError: no such rate")
    assert "exited with code 1" in notes[7]
    assert notes[8].startswith("out of memory; ")
    assert notes[9] == "diverged: val_loss is nan at its end"
    assert notes[6].startswith("never logged 'val_loss'")
    assert found["sweep"]["state"] == "finished"
    assert found["sweep"]["best"]["params"]["lr"] == 0.25
    assert "null" not in lab.leyden("sweep", "show").stdout


def test_a_script_that_pauses_without_a_word_is_not_started_for_ever(lab: Platform) -> None:
    lab.write("mute.py", "import sys; sys.exit(76)")
    words = ("--strategy", "asha", "--max-epochs", "3", "--metric", "val_loss:min", "mute.py", "--lr", "[1]")
    found = sweep(lab, "--trials", "1", *words)
    assert found["trials"][0]["state"] == "failed"
    assert found["trials"][0]["note"] == "paused 11 times, but was measured at no new rung"


def test_too_many_failures_end_it_and_it_can_be_resumed(lab: Platform) -> None:
    words = ("--metric", "val_loss:min", "--parallel", "1", "--max-failures", "1", "point.py")
    found = sweep(lab, *words, "--lr", "[7, 7, 0.25, 7, 0.5]", check=1)
    assert found["sweep"]["state"] == "failed"
    assert "2 trials failed, the last (1)" in found["sweep"]["reason"]
    resumed = lab.json("sweep", "resume", "last", "--max-failures", "5")
    assert resumed["state"] == "running"
    until(lambda: now(lab)["sweep"]["state"] == "finished", "the end of the sweep")
    again = now(lab)
    assert by_state(again) == {"failed": [0, 1, 3], "done": [2, 4]}
    broken = sweep(lab, "--metric", "val_loss:min", "point.py", "--lr", f"[{'7, ' * 30}7]", check=1)
    assert 5 <= len(broken["trials"]) <= 12, "a script that always fails is not run forty times"


def test_a_target_ends_it(lab: Platform) -> None:
    words = ("--metric", "val_loss:min", "--parallel", "1", "--target", "1.3", "point.py")
    found = sweep(lab, *words, "--lr", "[0.9, 0.8, 0.5, 0.7, 0.6]")
    assert [one["params"]["lr"] for one in found["trials"]] == [0.9, 0.8, 0.5]
    assert found["sweep"]["reason"] == "reached its target: trial 2 has val_loss 1.25"


def test_a_value_on_the_way_ends_it_too(lab: Platform) -> None:
    lab.write("passing.py", PASSING)
    words = ("--metric", "val_acc:max", "--parallel", "1", "--target", "0.8", "passing.py", "--lr", "[0.6, 0.9, 0.7]")
    found = sweep(lab, *words)
    assert found["sweep"]["reason"] == "reached its target: trial 1 has val_acc 0.9"
    assert [(one["value"], one["note"]) for one in found["trials"]] == [
        (0.1, ""),
        (0.9, "as good as the sweep's target"),
    ]
    until(lambda: lab.json("show", found["trials"][1]["job_id"])["job"]["state"] == "cancelled", "its early end")


def test_a_value_before_its_end_counts_for_the_target(lab: Platform) -> None:
    lab.write("passing.py", PASSING)
    words = ("--metric", "val_acc:max", "--parallel", "1", "--target", "0.8", "passing.py", "--lr", "[0.85, 0.7]")
    found = sweep(lab, *words)
    assert [one["value"] for one in found["trials"]] == [0.85]


def test_stop_pauses_its_trials_and_resume_lets_them_go_on(lab: Platform, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    words = ("--parallel", "2", "--metric", "val_loss:min", "slow.py", "--until", str(gate), "--lr", "[1, 2, 3]")
    lab.leyden("sweep", "-d", "--cpus", "1", *words)
    until(lambda: now(lab)["sweep"]["counts"]["running"] == 2, "two trials that run")
    assert lab.json("sweep", "stop")["state"] == "stopped"
    until(lambda: now(lab)["sweep"]["counts"]["paused"] == 2, "both paused")
    assert "may go on" not in lab.leyden("sweep", "resume", "last").stdout
    gate.touch()
    until(lambda: now(lab)["sweep"]["state"] == "finished", "the end of the sweep")
    found = now(lab)
    assert [one["value"] for one in found["trials"]] == [1.0, 2.0, 3.0]
    assert [one["attempts"] for one in found["trials"]] == [2, 2, 1]
    refused = lab.leyden("sweep", "stop", "last", check=None)
    assert refused.returncode != 0
    assert "it is finished" in refused.stderr


def test_a_loser_is_replaced_by_a_changed_copy_of_a_better_one(lab: Platform) -> None:
    words = ("--strategy", "pbt", "--min-epochs", "2", "--max-epochs", "6", "--trials", "5", "--parallel", "5")
    found = sweep(lab, *words, "--metric", "val_loss:min", "ladder.py", "--lr", "uniform(0, 1)")
    copies = [one for one in found["trials"] if one["parent"] is not None]
    assert copies, "the worst of five is replaced at a rung"
    for one in copies:
        loser = found["trials"][one["parent"]]
        assert loser["state"] == "dropped"
        assert loser["note"].startswith(f"replaced by trial {one['number']}, ")
        assert lab.json("show", loser["job_id"])["job"]["state"] == "cancelled"
        source = found["trials"][int(loser["note"].rpartition(" ")[2])]
        rung = len(loser["curve"])
        assert one["curve"][:rung] == source["curve"][:rung], "it begins with what its source was measured at"
        assert one["params"]["lr"] != source["params"]["lr"]
        epochs = [int(line) for line in (lab.home.runs / one["job_id"] / "epochs").read_text().split()]
        assert epochs[0] > loser["resource"], "from the checkpoint of its source"
        assert epochs == list(range(epochs[0], 7))
    assert len([one for one in found["trials"] if one["state"] == "done"]) == 5


def test_a_table_a_job_file_and_words_as_they_are(lab: Platform) -> None:
    lab.write("some.csv", "lr,width\n0.25,1\n0.5,3\n")
    found = sweep(lab, "--metric", "val_loss:min", "point.py", "@some.csv")
    assert [one["params"] for one in found["trials"]] == [{"lr": 0.25, "width": 1}, {"lr": 0.5, "width": 3}]
    lab.write(
        "job.toml",
        'script = "point.py"\ncpus = 1\n[sweep]\nmetric = "val_loss:min"\nstrategy = "grid_search"\n'
        'space = {lr = [0.25, 0.75], width = "range(1, 3)"}\n',
    )
    lab.leyden("sweep", "job.toml")
    found = now(lab)
    assert [one["value"] for one in found["trials"]] == [1.0, 2.0, 1.5, 2.5]
    assert "leyden sweep job.toml" in lab.leyden("run", "job.toml", check=2).stderr
    lab.write("words.py", "import sys; print(sys.argv[1:])")
    printed = lab.leyden("sweep", "--strategy", "none", "words.py", "--lr", "[1, 2]").stdout
    assert printed == "['--lr', '[1, 2]']\n"
    planned = lab.leyden("plan", "sweep", "--cpus", "1", "point.py", "--lr", "[1, 2, 3]").stdout
    assert "3, chosen by grid from 3 points" in planned
    assert "--lr 3" in planned
    wrong = lab.leyden("sweep", "point.py", "--lr", "loguniform(1e-4,)", check=2).stderr
    assert "loguniform(1e-4,)\n" in wrong
    assert "^" in wrong.splitlines()[2]


PROGRAM = """
import leyden
handle = leyden.sweep(
    leyden.Job(script="point.py", args=("--width", "[1, 2]"), cpus=1),
    space={"lr": [0.25, 0.5]}, strategy="grid", metric="val_loss:min",
)
found = handle.wait()
print(found.sweep.state, [one.value for one in found.trials], handle.best().params)
"""


def test_a_python_program_searches(lab: Platform) -> None:
    lab.write("search.py", PROGRAM)
    words = [sys.executable, "search.py"]
    done = subprocess.run(words, cwd=lab.project, env=lab.environ, capture_output=True, text=True, check=True)
    assert done.stdout == "finished [1.0, 1.25, 2.0, 2.25] {'width': 1, 'lr': 0.25}\n"


def test_ctrl_c_leaves_it_running_and_another_stops_it(lab: Platform, tmp_path: Path) -> None:
    words = ("--cpus", "1", "--metric", "val_loss:min", "slow.py", "--until", str(tmp_path / "gate"), "--lr", "[1, 2]")
    watching = lab.start("sweep", *words, preexec_fn=os.setsid)
    until(lambda: now(lab)["sweep"]["counts"]["running"], "a trial that runs")
    watching.send_signal(signal.SIGINT)
    assert watching.stderr is not None
    lines = iter(watching.stderr.readline, b"")
    assert any(b"goes on without this terminal" in line for line in lines)
    watching.send_signal(signal.SIGINT)
    assert watching.wait(30) == 105
    until(lambda: now(lab)["sweep"]["counts"]["paused"] == 2, "both paused")
    (tmp_path / "gate").touch()
    lab.leyden("sweep", "resume", "last")
    until(lambda: now(lab)["sweep"]["state"] == "finished", "the end of the sweep")


TRAINER = """
import argparse, leyden, torch
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
args = parser.parse_args()
torch.set_num_threads(1)


class Net(leyden.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 1)

    def loss(self, batch):
        return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def training_step(self, batch):
        return self.loss(batch)

    def validation_step(self, batch):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=args.lr)


leyden.seed_everything(1)
x = torch.randn(64, 4)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), 8, shuffle=True)
leyden.Trainer(max_epochs=4, enable_progress_bar=False, num_sanity_val_steps=0).fit(Net(), loader, loader)
"""


@pytest.mark.slow
def test_a_script_with_a_trainer_pauses_unchanged_and_ends_as_if_it_never_had(lab: Platform) -> None:
    lab.write("train.py", TRAINER)
    words = ("--strategy", "hyperband", "--eta", "2", "--max-epochs", "4", "--trials", "4", "--metric", "val_loss:min")
    found = sweep(lab, *words, "train.py", "--lr", "[0.001, 0.003, 0.01, 0.03]")
    assert [(one["resource"], one["reached"]) for one in found["rungs"]] == [(1, 4), (2, 2), (4, 1)]
    best = found["trials"][found["sweep"]["best"]["number"]]
    assert best["state"] == "done"
    assert best["attempts"] >= 2, "it was paused at least once"
    lab.leyden("run", "train.py", "--lr", str(best["params"]["lr"]))
    of = {
        ref: next(one for one in lab.json("metrics", ref) if one["name"] == "val_loss")
        for ref in ("last", best["job_id"])
    }
    alone, paused = of.values()
    assert len(alone["values"]) == 4
    assert (paused["steps"], paused["values"]) == (alone["steps"], alone["values"]), "to the last bit"


@pytest.mark.slow
def test_a_server_killed_twice_goes_on_with_the_same_trials_to_the_same_result(platform: Platform) -> None:
    platform.write("ladder.py", LADDER)
    words = ("--strategy", "hyperband", "--max-epochs", "9", "--trials", "9", "--metric", "val_loss:min", "--seed", "5")
    script = ("ladder.py", "--lr", "uniform(0, 1)")
    whole = sweep(platform, *words, *script)
    watching = platform.start("sweep", "--cpus", "1", *words, *script)
    for enough in (2, 6):
        until(partial(has_measured, platform, enough, other_than=whole["sweep"]["id"]), "some measurements")
        server = embedded.find(platform.home)
        assert server is not None
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        subprocess.run([LEYDEN, "server", "start"], env=platform.environ, check=True, capture_output=True)
    assert watching.wait(60) == 0
    again = now(platform)
    assert again["sweep"]["id"] != whole["sweep"]["id"]
    kept = ("number", "params", "curve", "state", "value")
    assert [[one[key] for key in kept] for one in again["trials"]] == [
        [one[key] for key in kept] for one in whole["trials"]
    ]
    for one in again["trials"]:
        epochs = [int(line) for line in (platform.home.runs / one["job_id"] / "epochs").read_text().split()]
        assert epochs == list(range(1, one["resource"] + 1)), "nothing was trained twice"


def test_several_trials_share_one_gpu(platform: Platform, tmp_path: Path) -> None:
    platform.write("slow.py", SLOW)
    platform.leyden("server", "start", "--fake-gpus", "1")
    gate = tmp_path / "gate"
    words = ("--per-gpu", "2", "--metric", "val_loss:min", "slow.py", "--until", str(gate), "--lr", "range(1, 6)")
    platform.leyden("sweep", "-d", *words)
    until(lambda: now(platform)["sweep"]["counts"]["running"] == 2, "two trials at a time")
    devices = {device for job in platform.json("ps") for device in job["devices"] if device.startswith("gpu")}
    assert devices == {"gpu:0/2.0", "gpu:0/2.1"}
    gate.touch()
    until(lambda: now(platform)["sweep"]["state"] == "finished", "the end of the sweep")
    assert json.dumps([one["value"] for one in now(platform)["trials"]]) == "[1.0, 2.0, 3.0, 4.0, 5.0]"
