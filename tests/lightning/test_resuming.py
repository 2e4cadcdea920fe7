"""Does Lightning code keep what Leyden promises: a run that is told to end goes on as if it never had?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from leyden import lightning
from leyden.lightning.pytorch.callbacks import ModelCheckpoint


class Model(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.3), torch.nn.Linear(4, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.05)


class Ends(lightning.Callback):
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 6:
            os.kill(os.getpid(), signal.SIGTERM)


def fit(folder: Path, *callbacks: lightning.Callback, ckpt_path: str | None = None) -> Model:
    lightning.seed_everything(4)
    model = Model()
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder / "checkpoints"), *callbacks],
        default_root_dir=folder,
    )
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(16, 3, generator=generator))
    trainer.fit(model, DataLoader(data, batch_size=4, shuffle=True), ckpt_path=ckpt_path)
    assert trainer.global_step == 12
    return model


def test_a_run_that_was_ended_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole")
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path / "ended", Ends())
    assert ended.value.code == 143
    assert sorted(one.name for one in (tmp_path / "ended" / "checkpoints").iterdir())[-1] == "epoch=1-step=6.ckpt"
    resumed = fit(tmp_path / "ended", ckpt_path="last")
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_a_job_finds_its_checkpoints_in_the_folder_of_its_run(tmp_path: Path) -> None:
    code = (
        "import torch\nfrom leyden import lightning\nfrom tests.lightning.test_resuming import Model\n"
        "trainer = lightning.Trainer(max_epochs=1, accelerator='cpu', enable_progress_bar=False)\n"
        "trainer.fit(Model(), torch.utils.data.DataLoader([[torch.ones(3)]]))\n"
        "print(trainer.checkpoint_callback.best_model_path)"
    )
    environ = {**os.environ, "LEYDEN_RUN_DIR": str(tmp_path / "run"), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.splitlines()[-1])
    assert path == tmp_path / "run" / "checkpoints" / "epoch=0-step=1.ckpt"
    assert path.exists()


@pytest.mark.slow
def test_a_command_line_without_jsonargparse_says_what_to_install() -> None:
    code = "import sys; sys.modules['jsonargparse'] = None; import leyden.lightning.pytorch.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'leyden[cli]'" in done.stderr
