"""Does an exported module compute what the module computes?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import leyden
from leyden.core.errors import CheckpointError, ConfigurationError
from leyden.train import export
from leyden.train.checkpoints import checkpoint
from tests.train.models import Line, loader, same, weights


class Exported(Line):
    """A Line with `forward`, dropout and one part that stays frozen in evaluation mode."""

    def __init__(self) -> None:
        super().__init__(dropout=0.5)
        self.norm = nn.BatchNorm1d(4).eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.norm(x))  # type: ignore[no-any-return]


class Tied(leyden.Module):
    """Two inputs, one of them named, and an output layer that shares the embedding's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.table.weight

    def forward(self, words: Tensor, scale: Tensor) -> Tensor:
        return self.head(self.table(words) * scale[:, None])  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Trained, so that it still knows its Trainer."""
    leyden.seed_everything(7)
    module, root = Exported(), tmp_path_factory.mktemp("fit")
    leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, default_root_dir=root).fit(
        module, loader()
    )
    module.train()
    module.norm.eval()
    return module


def expected(module: leyden.Module, *args: Tensor) -> Tensor:
    modes = [one.training for one in module.modules()]
    module.eval()
    with torch.no_grad():
        result: Tensor = module(*args)
    for one, mode in zip(module.modules(), modes, strict=True):
        one.training = mode
    return result


def untouched(module: Exported) -> bool:
    """In training mode with its frozen part in evaluation mode, and still with its Trainer."""
    return module.training and module.net.training and not module.norm.training and module.trainer.global_step > 0


@pytest.mark.parametrize("rows", [1, 3])
def test_onnx_runs_at_any_batch_size(fitted: Exported, rows: int) -> None:
    export.to_onnx(fitted, Path("out/model.onnx"), torch.randn(rows, 4))
    assert [one.name for one in Path("out").iterdir()] == ["model.onnx"]  # one file, no draft left
    session = onnxruntime.InferenceSession("out/model.onnx", providers=["CPUExecutionProvider"])
    for size in (1, 5):
        x = torch.randn(size, 4)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected(fitted, x))
    assert untouched(fitted)


def test_onnx_takes_the_settings_of_torch_and_names() -> None:
    module = Tied()
    sample = {"words": torch.tensor([1, 2]), "scale": torch.ones(2)}
    names = {"input_names": ["words", "scale"], "output_names": ["scores"]}
    export.to_onnx(module, "m.onnx", sample, dynamic_shapes=None, external_data=True, **names)
    assert {one.name for one in Path().iterdir()} == {"m.onnx", "m.onnx.data"}
    session = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["scores"], {name: value.numpy() for name, value in sample.items()})
    torch.testing.assert_close(torch.from_numpy(found), expected(module, *sample.values()))
    assert [one.shape for one in session.get_inputs()] == [[2], [2]]  # fixed, as asked


def test_torch_export_loads_back_equal(fitted: Exported) -> None:
    export.to_torch_export(fitted, "model.pt2", torch.randn(1, 4))
    loaded = torch.export.load("model.pt2").module()
    for size in (1, 5):
        x = torch.randn(size, 4)
        assert torch.equal(loaded(x), expected(fitted, x))
    assert untouched(fitted)


def test_several_arguments_and_the_default_sample() -> None:
    module = Tied()
    module.example_input_array = (torch.tensor([1, 2]), torch.ones(2))  # type: ignore[assignment]
    program = export.to_torch_export(module, "model.pt2")
    inputs = torch.tensor([3, 4, 5]), torch.randn(3)
    assert torch.equal(program.module()(*inputs), expected(module, *inputs))


@pytest.mark.parametrize("method", ["script", "trace"])
def test_torchscript(fitted: Exported, method: str) -> None:
    fitted.example_input_array = torch.randn(2, 4)
    script = export.to_torchscript(fitted, "model.pt", method=method)
    x = torch.randn(5, 4)
    for one in (script, _load_script("model.pt")):
        assert torch.equal(one(x), expected(fitted, x))
        assert not one.training
    assert type(fitted) is Exported
    assert untouched(fitted)


def _load_script(path: str) -> Any:
    with pytest.warns(DeprecationWarning, match=r"torch\.jit\.load"):
        return torch.jit.load(path)  # type: ignore[no-untyped-call]


def test_safetensors_and_back(fitted: Exported) -> None:
    export.to_safetensors(fitted, "model.safetensors")
    other = Exported()
    assert not same(weights(other), weights(fitted))
    export.from_safetensors(other, "model.safetensors")
    assert same(weights(other), weights(fitted))


def test_tied_weights_are_stored_once_and_stay_tied() -> None:
    module, other = Tied(), Tied()
    export.to_safetensors(module, "model.safetensors")
    assert Path("model.safetensors").stat().st_size < 2 * 10 * 4 * 4
    export.from_safetensors(other, "model.safetensors")
    assert same(weights(other), weights(module))
    assert other.head.weight is other.table.weight


def test_the_weights_of_a_checkpoint_are_read_too(fitted: Exported) -> None:
    snapshot = checkpoint.Snapshot(epoch=0, step=0, weights=fitted.state_dict(), training={})
    checkpoint.write(Path("saved"), snapshot)
    other = Exported()
    export.from_safetensors(other, Path("saved") / checkpoint.WEIGHTS)
    assert same(weights(other), weights(fitted))


def test_a_failure_leaves_the_old_file_and_the_modes(fitted: Exported) -> None:
    path = Path("model.pt2")
    path.write_text("the one before")
    with pytest.raises(Exception, match="should contain 9 elements"):
        export.to_torch_export(fitted, path, torch.randn(2, 9))
    assert [one.name for one in Path().iterdir()] == ["model.pt2"]
    assert path.read_text() == "the one before"
    assert untouched(fitted)


def test_mistakes(fitted: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"no input_sample was passed.*Pass input_sample="):
        export.to_onnx(Tied(), "m.onnx")
    with pytest.raises(ConfigurationError, match="Pass example_inputs="):
        export.to_torchscript(Tied(), method="trace")
    with pytest.raises(ConfigurationError, match="known are 'script' and 'trace'"):
        export.to_torchscript(fitted, method="compile")
    with pytest.raises(CheckpointError, match="cannot be read"):
        export.from_safetensors(fitted, "nowhere.safetensors")
    export.to_safetensors(Tied(), "tied.safetensors")
    with pytest.raises(CheckpointError, match=r"another model's: missing net\.0\.bias"):
        export.from_safetensors(fitted, "tied.safetensors")
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install"):
        export.to_onnx(fitted, "m.onnx", torch.randn(2, 4))
    assert not list(Path().glob("m.*"))
