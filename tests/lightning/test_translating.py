"""Do Lightning's arguments come to mean what they should, and is what Leyden does another way told by name?"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.fsdp.wrap import ModuleWrapPolicy, size_based_auto_wrap_policy, transformer_auto_wrap_policy

from leyden import lightning
from leyden.core.errors import ConfigurationError
from leyden.lightning.pytorch import loggers, plugins, strategies
from leyden.lightning.pytorch.accelerators import Accelerator, CPUAccelerator, CUDAAccelerator, MPSAccelerator
from leyden.lightning.pytorch.callbacks import ModelCheckpoint, ModelSummary, TQDMProgressBar
from leyden.lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, SingleDeviceStrategy
from leyden.lightning.pytorch.utilities import CombinedLoader, LightningEnum, MisconfigurationException
from leyden.train.strategies import DDP, FSDP, Offload


def trainer(**settings: Any) -> lightning.Trainer:
    return lightning.Trainer(**{"accelerator": "cpu", "logger": False, **settings})


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ddp", DDP()),
        ("ddp_spawn", DDP()),
        ("ddp_find_unused_parameters_true", DDP(find_unused_parameters=True)),
        (
            DDPStrategy(find_unused_parameters=True, static_graph=True),
            DDP(find_unused_parameters=True, static_graph=True),
        ),
        ("fsdp", FSDP()),
        ("fsdp_cpu_offload", FSDP(cpu_offload=True)),
        ("offload", Offload()),
        (FSDP(cpu_offload=True), FSDP(cpu_offload=True)),
        (FSDPStrategy(auto_wrap_policy={torch.nn.Linear}), FSDP(wrap=(torch.nn.Linear,))),
        (FSDPStrategy(auto_wrap_policy=ModuleWrapPolicy({torch.nn.Linear})), FSDP(wrap=(torch.nn.Linear,))),
        (
            FSDPStrategy(
                auto_wrap_policy=functools.partial(
                    transformer_auto_wrap_policy, transformer_layer_cls={torch.nn.Linear}
                )
            ),
            FSDP(wrap=(torch.nn.Linear,)),
        ),
        (FSDPStrategy(sharding_strategy="SHARD_GRAD_OP"), FSDP(reshard_after_forward=False)),
        (FSDPStrategy(sharding_strategy="HYBRID_SHARD", device_mesh=(2, 4)), FSDP(replicate=2)),
        (FSDPStrategy(sharding_strategy="NO_SHARD"), DDP()),
        (FSDPStrategy(state_dict_type="sharded"), FSDP(state_dict="sharded")),
        (
            FSDPStrategy(activation_checkpointing_policy={torch.nn.Linear}),
            FSDP(activation_checkpointing=(torch.nn.Linear,)),
        ),
    ],
)
def test_strategies(given: Any, meant: Any) -> None:
    assert trainer(strategy=given).choices.strategy == meant


def test_a_policy_by_size_becomes_a_function_of_modules() -> None:
    policy = functools.partial(size_based_auto_wrap_policy, min_num_params=100)
    wrap: Any = strategies.wrap_of(policy)
    assert wrap(torch.nn.Linear(20, 20))
    assert not wrap(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("settings", "meant"),
    [
        ({"precision": 16}, {"precision": "16-mixed"}),
        ({"precision": "bf16"}, {"precision": "bf16-mixed"}),
        ({"precision": 64}, {"precision": "64-true"}),
        ({"plugins": plugins.HalfPrecision("bf16-true")}, {"precision": "bf16-true"}),
        ({"plugins": [plugins.MixedPrecision("bf16-mixed", "cpu")]}, {"precision": "bf16-mixed"}),
        ({"plugins": plugins.TorchSyncBatchNorm()}, {"sync_batchnorm": True}),
        ({"plugins": [plugins.SLURMEnvironment(auto_requeue=False), plugins.AsyncCheckpointIO()]}, {}),
        ({"min_epochs": None, "min_steps": 3}, {"min_epochs": 0, "min_steps": 3}),
        ({"val_check_interval": None}, {"val_check_interval": 1.0}),
        ({"max_steps": 5}, {"max_steps": 5, "max_epochs": -1}),
        ({"max_epochs": None}, {"max_epochs": 1000}),
        ({"gradient_clip_algorithm": "value"}, {"gradient_clip_algorithm": "value"}),
        ({"deterministic": "warn"}, {"deterministic": "warn"}),
        ({"barebones": True}, {"num_sanity_val_steps": 0}),
    ],
)
def test_choices(settings: dict[str, Any], meant: dict[str, Any]) -> None:
    choices = lightning.Trainer(accelerator="cpu", **settings).choices
    assert {name: getattr(choices, name) for name in meant} == meant


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"strategy": "deepspeed_stage_2"}, 'Use strategy="fsdp"'),
        ({"strategy": DeepSpeedStrategy(offload_optimizer=True)}, 'strategy="offload"'),
        ({"strategy": strategies.ModelParallelStrategy()}, "TensorParallel"),
        ({"strategy": DDPStrategy(no_such_option=1)}, "no_such_option"),
        ({"strategy": FSDPStrategy(sharding_strategy="HYBRID_SHARD")}, "device_mesh"),
        ({"strategy": type("Own", (DDPStrategy,), {})()}, "Own"),
        ({"strategy": "ddpp"}, "ddpp"),
        ({"accelerator": "tpu"}, "tpu"),
        ({"accelerator": type("Own", (Accelerator,), {})()}, "Own"),
        ({"precision": "transformer-engine"}, "bf16-mixed"),
        ({"plugins": [object()]}, "object"),
        ({"model_registry": "models"}, "ModelCheckpoint"),
        ({"val_check_interval": "00:00:10:00"}, "number of batches"),
        ({"barebones": True, "logger": True}, "barebones"),
        ({"callbacks": ModelCheckpoint(), "enable_checkpointing": False}, "ModelCheckpoint"),
        ({"callbacks": TQDMProgressBar(), "enable_progress_bar": False}, "ProgressBar"),
    ],
)
def test_what_is_refused_is_named(settings: dict[str, Any], found: str) -> None:
    with pytest.raises(ConfigurationError, match=found):
        lightning.Trainer(**{"accelerator": "cpu", **settings})


def test_what_only_a_constructor_refuses() -> None:
    for make in (
        lambda: plugins.TransformerEnginePrecision(torch.bfloat16),
        lambda: plugins.BitsandbytesPrecision("nf4"),
        plugins.XLAPrecision,
        lambda: plugins.MixedPrecision("16-mixed", "cuda", scaler=object()),
        loggers.CometLogger,
        lambda: loggers.WandbLogger(log_model=True),
        lambda: FSDPStrategy(mixed_precision=object()),
        lightning.Fabric,
        lambda: CombinedLoader([], mode="longest"),
        lambda: ModelCheckpoint(save_top_k=3),
        lambda: ModelCheckpoint(every_n_epochs=1, every_n_train_steps=1),
        lambda: lightning.LightningModule().to_tensorrt(),
    ):
        with pytest.raises(ConfigurationError):
            make()


def test_accelerators_are_words() -> None:
    assert trainer(accelerator=CPUAccelerator()).accelerator == "cpu"
    assert isinstance(trainer(accelerator="auto").accelerator, CPUAccelerator | CUDAAccelerator | MPSAccelerator)
    assert CPUAccelerator.is_available()
    assert trainer(devices="2").num_devices == 2
    assert trainer(devices=[0, 1]).num_devices == 2
    assert isinstance(trainer().strategy, SingleDeviceStrategy)
    assert trainer().strategy.root_device == torch.device("cpu")


def test_callbacks_that_arguments_ask_for(tmp_path: Path) -> None:
    kinds = {type(one) for one in trainer().callbacks}
    assert kinds == {ModelCheckpoint, ModelSummary, TQDMProgressBar}
    assert trainer(enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False).callbacks == []
    default = lightning.Trainer(accelerator="cpu", default_root_dir=tmp_path)
    assert Path(default.log_dir) == tmp_path / "lightning_logs" / "version_0"
    assert str(default.default_root_dir) == str(tmp_path)
    assert default.default_root_dir / "logs" == tmp_path / "logs"


def test_bounds_can_be_changed_between_two_calls() -> None:
    one = trainer(max_epochs=2)
    one.fit_loop.max_epochs = 5
    one.limit_val_batches = 3
    one.accumulate_grad_batches = 4
    assert (one.max_epochs, one.fit_loop.max_epochs, one.choices.max_epochs) == (5, 5, 5)
    assert (one.limits["validate"], one.choices.accumulate_grad_batches) == (3, 4)
    assert one.fit_loop.epoch_loop.max_epochs == 5
    with pytest.raises(AttributeError, match="cannot be set"):
        one.fit_loop.no_such_bound = 1


def test_errors_of_ones_own() -> None:
    with pytest.raises(MisconfigurationException, match="my words"):
        raise MisconfigurationException("my words")


def test_enums_equal_their_text_in_any_case() -> None:
    class Word(LightningEnum):
        ONE = "one"

    assert Word.ONE == "ONE"
    assert Word.from_str("One") is Word.ONE
    assert Word.from_str("two") is None


def test_logging_outside_of_a_trainer_warns() -> None:
    with pytest.warns(UserWarning, match="records nothing"):
        lightning.LightningModule().log("loss", 1.0)


def test_a_reduction_that_is_none_is_refused() -> None:
    module = lightning.LightningModule()
    module.trainer = trainer()
    with pytest.raises(ConfigurationError, match="mean, sum, min or max"):
        module.log("loss", 1.0, reduce_fx=lambda values: values[0])
