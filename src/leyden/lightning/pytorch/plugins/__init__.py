"""What do Lightning's plugins mean here? Precisions are words; how files are written is Leyden's affair."""

from __future__ import annotations

from typing import Any

from leyden.lightning.errors import not_kept

__all__ = [
    "AsyncCheckpointIO",
    "BitsandbytesPrecision",
    "CheckpointIO",
    "DeepSpeedPrecision",
    "DoublePrecision",
    "FSDPPrecision",
    "HalfPrecision",
    "LayerSync",
    "MixedPrecision",
    "Precision",
    "TorchCheckpointIO",
    "TorchSyncBatchNorm",
    "TransformerEnginePrecision",
    "XLACheckpointIO",
    "XLAPrecision",
]


class Precision:
    """A word for `Trainer(precision=…)` as an object."""

    def __init__(self, precision: str = "32-true") -> None:
        self.precision = precision


class MixedPrecision(Precision):
    """ "16-mixed" or "bf16-mixed"; a scaler of one's own is refused."""

    def __init__(self, precision: str, device: str = "cuda", scaler: Any = None) -> None:
        if scaler is not None:
            raise not_kept("MixedPrecision(scaler=…)", 'Use precision="16-mixed", which brings its own.')
        super().__init__(precision)


class HalfPrecision(Precision):
    """ "16-true" or "bf16-true"."""

    def __init__(self, precision: str = "16-true") -> None:
        super().__init__(precision)


class DoublePrecision(Precision):
    """ "64-true"."""

    def __init__(self) -> None:
        super().__init__("64-true")


class FSDPPrecision(Precision):
    """Any word, with FSDP."""

    def __init__(self, precision: str, scaler: Any = None) -> None:
        super().__init__(precision)


class DeepSpeedPrecision(Precision):
    """Any word."""


class TransformerEnginePrecision(Precision):
    """Refused: Leyden's 8-bit floats are torchao's."""

    def __init__(
        self, weights_dtype: Any, recipe: Any = None, replace_layers: Any = None, fallback_compute_dtype: Any = None
    ) -> None:
        raise not_kept("TransformerEnginePrecision", 'Use precision="bf16-mixed".')


class BitsandbytesPrecision(Precision):
    """Refused: Leyden stores no weights in 4 or 8 bits."""

    def __init__(self, mode: str, dtype: Any = None, ignore_modules: Any = None) -> None:
        raise not_kept("BitsandbytesPrecision", 'Use strategy="offload" for models larger than the device.')


class XLAPrecision(Precision):
    """Refused: Leyden does not train on TPUs."""

    def __init__(self, precision: str = "32-true") -> None:
        raise not_kept("XLAPrecision", 'Use accelerator="auto".')


class CheckpointIO:
    """Accepted: Leyden writes checkpoints itself, in the background and all or nothing."""

    def __init__(self, checkpoint_io: CheckpointIO | None = None) -> None:
        self.checkpoint_io = checkpoint_io


class TorchCheckpointIO(CheckpointIO):
    """Accepted; the files stay Leyden's."""


class AsyncCheckpointIO(CheckpointIO):
    """Accepted; Leyden always writes in the background."""


class XLACheckpointIO(CheckpointIO):
    """Accepted; the files stay Leyden's."""


class LayerSync:
    """Base of what makes layers see all ranks' batches."""


class TorchSyncBatchNorm(LayerSync):
    """The same as `Trainer(sync_batchnorm=True)`."""


class ClusterEnvironment:
    """Accepted: Leyden reads the launcher's variables itself. Options have no meaning here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.options = kwargs


class LightningEnvironment(ClusterEnvironment):
    """Ranks that the Trainer starts."""


class SLURMEnvironment(ClusterEnvironment):
    """Ranks that Slurm starts. Leyden asks Slurm for a requeue itself."""

    def __init__(self, auto_requeue: bool = True, requeue_signal: Any = None) -> None:
        super().__init__(auto_requeue=auto_requeue)


class TorchElasticEnvironment(ClusterEnvironment):
    """Ranks that torchrun starts."""


class KubeflowEnvironment(ClusterEnvironment):
    """Ranks that Kubeflow starts."""


class LSFEnvironment(ClusterEnvironment):
    """Ranks that LSF starts."""


class MPIEnvironment(ClusterEnvironment):
    """Ranks that MPI starts."""


class XLAEnvironment(ClusterEnvironment):
    """Ranks of TPUs."""
