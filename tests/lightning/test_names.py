"""Are Lightning's public names all there, under its paths and with its arguments? And at no cost to who needs none?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# Where arguments are others, and why.
REFUSED = "its constructor only says what to use instead"
SUPERSET = "takes more than Lightning's"
OTHER_ARGUMENTS = {
    "Fabric": REFUSED,
    "CometLogger": REFUSED,
    "LitLogger": REFUSED,
    "DeepSpeedStrategy": REFUSED,
    "LambdaCallback": SUPERSET,
    "CheckpointIO": SUPERSET,
    "TorchCheckpointIO": SUPERSET,
    "XLACheckpointIO": SUPERSET,
    "Precision": SUPERSET,
    "DoublePrecision": "Lightning's shows object's own, which takes none",
    "LightningArgumentParser": SUPERSET,
    "LightningEnvironment": SUPERSET,
    "MPIEnvironment": SUPERSET,
    "MisconfigurationException": SUPERSET,
    "DummyLogger": SUPERSET,
    "LightningOptimizer": "made by the Trainer alone",
    "ExperimentWriter": "made by the logger alone",
    "LRSchedulerConfig": "made by the Trainer alone; ReduceLROnPlateau is known by its type",
}
OTHER_MEMBERS = {
    "Trainer.save_checkpoint": SUPERSET,
    "LightningModule.forward": "PyTorch's own",
    "LightningModule.training_step": "the loop looks how many arguments the user's takes",
    "LightningModule.validation_step": "the loop looks how many arguments the user's takes",
    "LightningModule.test_step": "the loop looks how many arguments the user's takes",
    "LightningModule.predict_step": "the loop looks how many arguments the user's takes",
    "LightningModule.to_tensorrt": REFUSED,
    "LightningModule.load_from_checkpoint": "Lightning's shows `cls`",
    "LightningDataModule.load_from_checkpoint": "Lightning's shows `cls`",
}


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    pytest.importorskip("lightning")
    command = [sys.executable, "-m", "tests.lightning.names"]
    running = {
        package: subprocess.Popen(
            [*command, package], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for package in ("lightning", "leyden.lightning")
    }
    found = {}
    for package, process in running.items():
        out, error = process.communicate()
        assert process.returncode == 0, error[-3000:]
        found[package] = json.loads(out.splitlines()[-1])
    return found


@pytest.mark.slow
def test_names_and_arguments(names: dict[str, Any]) -> None:
    wrong = []
    for path, theirs in names["lightning"].items():
        ours = names["leyden.lightning"][path]
        assert isinstance(theirs, dict), theirs
        assert isinstance(ours, dict), ours
        if path == "members":
            continue
        for name, arguments in theirs.items():
            if name not in ours:
                wrong.append(f"{path}.{name} is missing")
            elif arguments is not None and arguments != ours[name] and name not in OTHER_ARGUMENTS:
                wrong.append(f"{path}.{name}: {arguments} in Lightning, {ours[name]} here")
    assert wrong == []


@pytest.mark.slow
def test_members(names: dict[str, Any]) -> None:
    from leyden import lightning

    made = {"Trainer": lightning.Trainer(accelerator="cpu", logger=False)}
    wrong = []
    for kind, theirs in names["lightning"]["members"].items():
        ours = names["leyden.lightning"]["members"][kind]
        for name, arguments in theirs.items():
            if name not in ours:  # an attribute of the object, not of the class
                if not hasattr(made.get(kind), name):
                    wrong.append(f"{kind}.{name} is missing")
            elif arguments is not None and arguments != ours[name] and f"{kind}.{name}" not in OTHER_MEMBERS:
                wrong.append(f"{kind}.{name}: {arguments} in Lightning, {ours[name]} here")
    assert wrong == []


@pytest.mark.slow
def test_importing_loads_nothing_that_is_optional() -> None:
    code = (
        "import sys, leyden.lightning as L; assert 'torch' not in sys.modules\n"
        "L.Trainer, L.LightningModule, L.pytorch.callbacks.ModelCheckpoint, L.pytorch.loggers.TensorBoardLogger\n"
        "L.pytorch.strategies.DDPStrategy, L.pytorch.tuner.Tuner\n"
        "optional = {'jsonargparse', 'tensorboard', 'wandb', 'mlflow', 'torchmetrics', 'lightning', 'matplotlib'}\n"
        "print(sorted(optional & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
