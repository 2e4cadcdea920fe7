# mypy: ignore-errors
"""Pruning, spikes, profilers, a bar of one's own, exceptions, and exports."""

import torch
from lightning.pytorch.callbacks import ModelPruning, SpikeDetection, TQDMProgressBar
from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, SimpleProfiler
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class Model(L.LightningModule):
    def __init__(self, jump=None):
        super().__init__()
        self.layer = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        self.example_input_array = torch.ones(2, 3)
        self.jump = jump

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, batch_idx):
        loss = self(batch[0]).square().mean()
        return loss * 1000 if self.global_step == self.jump else loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Told(L.Callback):
    def __init__(self):
        self.seen = []

    def on_exception(self, trainer, pl_module, exception):
        self.seen.append([type(exception).__name__, trainer.interrupted or trainer.state.status.value == "running"])

    def teardown(self, trainer, pl_module, stage):
        self.seen.append("teardown")


class Bar(TQDMProgressBar):
    def get_metrics(self, trainer, model):
        items = super().get_metrics(trainer, model)
        items.pop("v_num", None)
        self.asked = True
        return items


def fit(model, callbacks=(), **settings):
    L.seed_everything(1)
    trainer = L.Trainer(
        max_epochs=2,
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        **{"enable_progress_bar": False, **settings},
    )
    trainer.fit(model, DataLoader(TensorDataset(torch.ones(8, 3)), batch_size=2))
    return trainer


def main():
    found = {}
    L.seed_everything(5)
    pruned = Model()
    fit(pruned, [ModelPruning("l1_unstructured", amount=0.5, use_lottery_ticket_hypothesis=False)])
    found["zeros"] = sum(int((p == 0).sum()) for p in pruned.parameters())
    found["names"] = sorted(pruned.state_dict())
    told = Told()
    try:
        fit(Model(jump=5), [SpikeDetection(rtol=2.0, exclude_batches_path="spikes/skip.json"), told])
    except Exception as error:
        found["spike"] = type(error).__name__
    found["told"] = told.seen[0]  # Leyden tears down after errors too
    for name, profiler in {
        "simple": SimpleProfiler(dirpath=".", filename="simple"),
        "advanced": AdvancedProfiler(dirpath=".", filename="advanced"),
        "none": PassThroughProfiler(),
        "word": "simple",
    }.items():
        found[f"profiled {name}"] = fit(Model(), profiler=profiler).global_step
    bar = Bar()
    trainer = fit(Model(), [bar], enable_progress_bar=True)
    found["bar"] = [trainer.progress_bar_callback is bar, bar.asked, bar.get_metrics(trainer, trainer.model)]
    L.seed_everything(7)
    model = Model().eval()
    with torch.no_grad():
        found["forward"] = model(torch.ones(1, 3))
    found["script"] = model.to_torchscript(method="trace", example_inputs=torch.ones(1, 3))(torch.ones(1, 3))
    found["unattached"] = []
    for read in (lambda: model.trainer, lambda: model.current_epoch, lambda: model.logger):
        try:
            found["unattached"].append(str(read()))
        except RuntimeError:
            found["unattached"].append("RuntimeError")
    return found
