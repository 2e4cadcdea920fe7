"""A DataModule under Lightning's name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Self

from torch.utils.data import DataLoader, Dataset, IterableDataset

from leyden.lightning.pytorch.core.saving import HyperParameterNames, build, load_hparams_from_yaml
from leyden.train.checkpoints import checkpoint
from leyden.train.module import DataModule

Datasets = Dataset[Any] | Iterable[Dataset[Any]] | None


class LightningDataModule(HyperParameterNames, DataModule):
    """`leyden.train.DataModule` with Lightning's signatures."""

    name: str | None = None
    CHECKPOINT_HYPER_PARAMS_KEY = "datamodule_hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "datamodule_hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE = "datamodule_hparams_type"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepare_data_per_node = True
        self.allow_zero_length_dataloader_with_multiple_devices = False

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: str | Iterable[str] | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Keep the arguments of `__init__`, those named, or the items of a mapping or Namespace, in `self.hparams`."""
        here = inspect.currentframe()
        self.keep(args, ignore or (), frame or (here.f_back if here else None))

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path,
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """A data module built with the hyperparameters that a checkpoint keeps of it, in the state it keeps."""
        training = checkpoint.read(Path(checkpoint_path)).training
        stored = training.get(cls.CHECKPOINT_HYPER_PARAMS_KEY, {})
        if hparams_file is not None:
            stored = load_hparams_from_yaml(hparams_file)
        made = build(cls, stored, kwargs)
        if training.get("datamodule"):
            made.load_state_dict(training["datamodule"])
        return made

    @classmethod
    def from_datasets(
        cls,
        train_dataset: Datasets = None,
        val_dataset: Datasets = None,
        test_dataset: Datasets = None,
        predict_dataset: Datasets = None,
        batch_size: int = 1,
        num_workers: int = 0,
        **datamodule_kwargs: Any,
    ) -> LightningDataModule:
        """A data module whose loaders give batches of these data sets; training shuffles."""

        def loader(dataset: Any, shuffle: bool) -> Any:
            if isinstance(dataset, Dataset):
                shuffle = shuffle and not isinstance(dataset, IterableDataset)
                pinned = num_workers > 0
                return DataLoader(
                    dataset, batch_size=batch_size, shuffle=shuffle, num_workers=num_workers, pin_memory=pinned
                )
            return [loader(one, shuffle) for one in dataset]

        given = {"train": train_dataset, "val": val_dataset, "test": test_dataset, "predict": predict_dataset}
        members = {
            f"{stage}_dataloader": lambda self, stage=stage, dataset=dataset: loader(dataset, stage == "train")
            for stage, dataset in given.items()
            if dataset is not None
        }
        kind = type(cls.__name__, (cls,), members)
        made: LightningDataModule = kind(**datamodule_kwargs)
        return made
