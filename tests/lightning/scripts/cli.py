# mypy: ignore-errors
"""LightningCLI: subcommands, config files, links, choices of optimizer, subclass mode."""

import contextlib
import io
import os

import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class Model(L.LightningModule):
    """A model.

    Args:
        width: of the layer
        lr: learning rate
    """

    def __init__(self, width: int = 3, lr: float = 0.1, batch: int = 1):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).square().mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch[0]).square().mean())

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.layer(batch[0]).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class Free(Model):
    """Leaves its optimizer to the command line."""

    configure_optimizers = L.LightningModule.configure_optimizers


class Data(L.LightningDataModule):
    def __init__(self, batch_size: int = 4, count: int = 16):
        super().__init__()
        self.save_hyperparameters()

    def loader(self):
        generator = torch.Generator().manual_seed(0)
        data = TensorDataset(torch.randn(self.hparams.count, 3, generator=generator))
        return DataLoader(data, batch_size=self.hparams.batch_size)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader


class MyCLI(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser):
        parser.link_arguments("data.batch_size", "model.batch")
        parser.add_argument("--note", default="none")
        parser.set_defaults({"trainer.max_epochs": 2})

    def before_fit(self):
        self.told = "before_fit"


QUIET = {
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "logger": False,
    "num_sanity_val_steps": 0,
}


ONCE = {"trainer_defaults": QUIET, "save_config_callback": None}


def printed(*args, **kwargs):
    words = io.StringIO()
    with contextlib.redirect_stdout(words), contextlib.suppress(SystemExit):
        LightningCLI(*args, **kwargs)
    return words.getvalue()


def main():
    os.environ.pop("PL_GLOBAL_SEED", None)
    found = {}
    cli = MyCLI(
        Model, Data, args=["fit", "--model.lr=0.05", "--data.batch_size=8", "--note=hi"], trainer_defaults=QUIET
    )
    found["fit"] = {
        "lr": cli.model.hparams.lr,
        "linked": cli.model.hparams.batch,
        "epochs": cli.trainer.current_epoch,
        "note": cli.config.fit.note,
        "seed": cli.config.fit.seed_everything,
        "told": cli.told,
        "subcommand": cli.subcommand,
        "weights": list(cli.model.parameters()),
    }
    with open("config.yaml", "w") as file:  # noqa: PTH123
        yaml.safe_dump({"seed_everything": 7, "trainer": {"max_epochs": 1}, "model": {"width": 3, "lr": 0.2}}, file)
    cli = LightningCLI(Model, Data, args=["fit", "--config", "config.yaml"], **ONCE)
    found["config"] = [cli.trainer.max_epochs, cli.model.hparams.lr, cli.config.fit.seed_everything]
    found["config_weights"] = list(cli.model.parameters())
    cli = LightningCLI(Model, Data, args=["validate"], **ONCE)
    found["validated"] = sorted(cli.trainer.callback_metrics)
    cli = LightningCLI(
        Free,
        Data,
        args=[
            "fit",
            "--optimizer=Adam",
            "--optimizer.lr=0.3",
            "--lr_scheduler=ExponentialLR",
            "--lr_scheduler.gamma=0.5",
            "--trainer.max_epochs=2",
        ],
        **ONCE,
    )
    optimizer = cli.trainer.optimizers[0]
    found["optimizer"] = [type(optimizer).__name__, optimizer.param_groups[0]["lr"]]
    cli = LightningCLI(
        Model, Data, run=False, args=["--model.lr=0.4", "--trainer.max_epochs=5"], trainer_defaults=QUIET
    )
    found["not run"] = [
        cli.model.hparams.lr,
        cli.trainer.max_epochs,
        cli.config.model.lr,
        type(cli.datamodule).__name__,
    ]
    cli = LightningCLI(
        L.LightningModule,
        L.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        run=False,
        args=["--model=cli.Model", "--model.lr=0.7", "--data=cli.Data", "--data.count=4"],
        trainer_defaults=QUIET,
    )
    found["subclass"] = [type(cli.model).__name__, cli.model.hparams.lr, cli.datamodule.hparams.count]
    cli = LightningCLI(
        Model,
        Data,
        run=False,
        args=[
            "--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping".replace("lightning", L.__name__),
            "--trainer.callbacks.monitor=val_loss",
            "--trainer.callbacks.patience=5",
        ],
        trainer_defaults=QUIET,
    )
    found["callbacks"] = [one.patience for one in cli.trainer.early_stopping_callbacks]
    os.environ["PL_FIT__MODEL__LR"] = "0.9"
    cli = LightningCLI(Model, Data, args=["fit", "--trainer.max_epochs=1"], **ONCE, parser_kwargs={"default_env": True})
    found["environ"] = cli.model.hparams.lr
    del os.environ["PL_FIT__MODEL__LR"]
    saving = {**QUIET, "logger": True, "max_epochs": 1}
    cli = LightningCLI(Model, Data, args=["fit"], trainer_defaults=saving, save_config_kwargs={"overwrite": True})
    saved = yaml.safe_load(open(os.path.join(cli.trainer.log_dir, "config.yaml")))  # noqa: PTH118, PTH123, SIM115
    found["saved"] = [saved["model"], saved["data"], saved["trainer"]["max_epochs"]]
    found["saver"] = any(isinstance(one, SaveConfigCallback) for one in cli.trainer.callbacks)
    text = printed(Model, Data, args=["fit", "--print_config"], trainer_defaults=QUIET)
    shown = yaml.safe_load(text)
    found["printed"] = [sorted(shown), shown["model"], sorted(shown["trainer"])]
    text = printed(Model, Data, args=["--help"])
    found["help"] = [word in text for word in ("fit", "validate", "test", "predict")]
    return found
