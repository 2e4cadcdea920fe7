"""How does a trained module leave Leyden? As ONNX, as a `torch.export` program, as TorchScript, or as bare weights.

Every function works on the module in evaluation mode without gradients and puts the modes back. A file appears whole
or not at all: it is written in a hidden folder beside its place and renamed.

The sample is what `forward` takes: a tensor, a tuple for several arguments, a dict for named ones. It is moved to the
module's device; without one, the module's `example_input_array` is used.
"""

from __future__ import annotations

import inspect
import os
import shutil
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_model
from torch import Tensor
from torch.utils import _pytree as pytree  # what torch.export itself flattens its inputs with

from leyden.core.errors import CheckpointError, ConfigurationError
from leyden.train.checkpoints import checkpoint
from leyden.train.feeding.loaders import to_device
from leyden.train.module import Module

_INLINE_BYTES = 1_500_000_000  # an ONNX file is one protobuf message, whose limit is 2 GiB


def to_onnx(module: Module, file_path: str | Path, input_sample: Any = None, **kwargs: Any) -> Any:
    """Write `forward` as an ONNX graph that takes any batch size; returns what `torch.onnx.export` does.

    `kwargs` go to `torch.onnx.export`. The first dimension of every tensor counts as the batch, unless
    `dynamic_shapes` says otherwise. Weights beyond 1.5 GB lie beside the graph in `<file_path>.data`.
    Raises ConfigurationError without a sample, or where onnx and onnxscript are not installed.
    """
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            found, do = f"{package} is not installed", "Install it with: pip install 'leyden[onnx]'"
            raise ConfigurationError(asked=f"ONNX of {type(module).__name__}", found=found, do=do)
    args, named = _sample(module, "to_onnx", input_sample, "input_sample")
    with _inference(module), _whole(file_path) as draft, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)  # torch calls itself so
        if kwargs.get("dynamo", True) and not kwargs.keys() & {"dynamic_shapes", "dynamic_axes"}:
            args, named, kwargs["dynamic_shapes"] = _any_batch(module, args, named)
        size = sum(one.nbytes for one in module.state_dict().values() if isinstance(one, Tensor))
        settings = {"verbose": False, "external_data": size > _INLINE_BYTES, **kwargs}
        return torch.onnx.export(module, args, draft, kwargs=named, **settings)


def to_torch_export(module: Module, file_path: str | Path, input_sample: Any = None) -> torch.export.ExportedProgram:
    """Write `forward` as a `torch.export` program (.pt2) that takes any batch size, and return it.

    `torch.export.load(file_path).module()` runs it, without the class, on the device the module was on.
    Raises ConfigurationError without a sample.
    """
    args, named = _sample(module, "to_torch_export", input_sample, "input_sample")
    with _inference(module), _whole(file_path) as draft:
        args, named, shapes = _any_batch(module, args, named)
        program = torch.export.export(module, args, named, dynamic_shapes=shapes)
        torch.export.save(program, draft)
    return program


def to_torchscript(
    module: Module,
    file_path: str | Path | None = None,
    method: str = "script",
    example_inputs: Any = None,
    **kwargs: Any,
) -> torch.jit.ScriptModule:
    """The module as TorchScript, by "script" (reads `forward`'s source) or "trace" (runs it on a sample).

    Written to `file_path` where one is given. `kwargs` go to `torch.jit.script` or `torch.jit.trace`. PyTorch has
    deprecated TorchScript: prefer `to_torch_export`.
    Raises ConfigurationError for another method, tracing without a sample, or a torch that has no TorchScript.
    """
    if method not in ("script", "trace"):
        found, do = "known are 'script' and 'trace'", "Use one of these."
        raise ConfigurationError(asked=f"to_torchscript(method={method!r})", found=found, do=do)
    if not hasattr(torch.jit, method):
        found, do = f"torch {torch.__version__} has no TorchScript", "Use to_torch_export."
        raise ConfigurationError(asked=f"TorchScript of {type(module).__name__}", found=found, do=do)
    with _inference(module), _without_properties(module), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is (deprecated|not supported)", DeprecationWarning)
        if method == "trace":
            args, named = _sample(module, "to_torchscript", example_inputs, "example_inputs")
            given = {"example_kwarg_inputs": named} if named else {"example_inputs": args}
            script = torch.jit.trace(module, **given, **kwargs)  # type: ignore[no-untyped-call]
        else:
            script = torch.jit.script(module, **kwargs)
        if file_path is not None:
            with _whole(file_path) as draft:
                script.save(str(draft))
    return script  # type: ignore[no-any-return]


def to_safetensors(module: Module, file_path: str | Path) -> None:
    """Write the weights and buffers, and nothing else, as safetensors; tied weights are stored once."""
    with _whole(file_path) as draft:
        save_model(module, str(draft))


def from_safetensors(module: Module, file_path: str | Path) -> None:
    """Load what `to_safetensors` wrote, or the model.safetensors of a checkpoint, onto the module's device.

    Raises CheckpointError for a file that is missing or damaged, or that holds another model's weights.
    """
    path = Path(file_path)
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        do = "Give a file that to_safetensors wrote."
        raise CheckpointError(asked=f"the weights of {path}", found=f"they cannot be read ({error})", do=do) from error
    own = module.state_dict()
    stored = {_place(own[name]): value for name, value in weights.items() if name in own}
    for name in own.keys() - weights.keys():  # tied weights are stored under one of their names
        if (twin := stored.get(_place(own[name]))) is not None:
            weights[name] = twin
    checkpoint.load_weights(module, checkpoint.Snapshot(epoch=0, step=0, weights=weights, training={}), path)


def _place(value: Tensor) -> tuple[Any, ...]:
    return (value.data_ptr() if value.numel() else id(value), value.shape, value.stride())


def _sample(module: Module, method: str, given: Any, argument: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The sample as (positional arguments, named arguments) of `forward`, on the module's device."""
    sample = getattr(module, "example_input_array", None) if given is None else given
    if sample is None:
        raise ConfigurationError(
            asked=f"{method} of {type(module).__name__}",
            found=f"no {argument} was passed, and the module has no example_input_array",
            do=f"Pass {argument}=… as forward takes it (a tensor, a tuple of arguments, or a dict of named ones).",
        )
    sample = to_device(sample, module.device)
    if isinstance(sample, Mapping):
        return (), dict(sample)
    return (tuple(sample) if isinstance(sample, tuple) else (sample,)), {}


def _any_batch(
    module: Module, args: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """The sample, and its shapes with the first dimension of every tensor left open."""
    tensors = [one for one in pytree.tree_leaves((args, named)) if isinstance(one, Tensor) and one.ndim]
    if tensors and all(one.shape[0] == 1 for one in tensors):  # torch.export takes a size of 1 for a constant
        args, named = pytree.tree_map(_double, args), pytree.tree_map(_double, named)
        tensors = [one for one in pytree.tree_leaves((args, named)) if isinstance(one, Tensor) and one.ndim]
    shapes = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    for one in tensors:
        shapes[one] = {0: torch.export.Dim.AUTO}  # AUTO: where forward fixes the size, it stays fixed
    return args, named, shapes.dynamic_shapes(module, args, named)  # type: ignore[no-untyped-call]


def _double(value: Any) -> Any:
    return torch.cat([value, value]) if isinstance(value, Tensor) and value.ndim else value


@contextmanager
def _inference(module: Module) -> Iterator[None]:
    """Evaluation mode, no gradients, and no Trainer in sight; all of it put back."""
    modes = {one: one.training for one in module.modules()}
    ours = [name for name in inspect.get_annotations(Module) if name.startswith("_")]
    running = {name: vars(module).pop(name) for name in ours if name in vars(module)}
    try:
        with torch.no_grad():
            module.eval()
            yield
    finally:
        vars(module).update(running)
        for one, mode in modes.items():
            one.training = mode


@contextmanager
def _without_properties(module: Module) -> Iterator[None]:
    """Of a class whose properties about training TorchScript neither compiles nor reads."""
    kind = type(module)
    ours = [name for base in Module.__mro__ for name, value in vars(base).items() if isinstance(value, property)]
    hidden: dict[str, Any] = {"__module__": kind.__module__, "__jit_unused_properties__": ours}
    for name in ours:
        try:
            getattr(module, name)
        except ConfigurationError:  # it asks for a Trainer, and tracing reads every attribute
            hidden[name] = None
    module.__class__ = type(kind.__name__, (kind,), hidden)
    try:
        yield
    finally:
        module.__class__ = kind


@contextmanager
def _whole(file_path: str | Path) -> Iterator[Path]:
    """Where to write; on success that file, and what was written beside it, take their places by renames."""
    path = Path(file_path)
    draft = path.with_name(f".{path.name}.draft-{socket.gethostname()}-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft / path.name
        for file in sorted(draft.iterdir(), key=lambda one: one.name == path.name):  # the file itself comes last
            file.replace(path.with_name(file.name))
    finally:
        shutil.rmtree(draft, ignore_errors=True)
