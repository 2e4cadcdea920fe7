"""What does the HTTP API say about the files that a job left?

As leyden.core.views, but apart from it: each view costs a command that does not ask for it a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ArtifactView:
    """A file that a job left, in its newest version or that of the attempt asked about."""

    path: str  # relative to artifacts/
    attempt: int  # that left this version
    size_bytes: int
    modified_at: float
    mode: int
    sha256: str  # "" where nobody has read it yet, as the job may still write to it


@dataclass(frozen=True, kw_only=True)
class RefusedView:
    """What lies under artifacts/ and is not kept."""

    path: str
    why: str


@dataclass(frozen=True, kw_only=True)
class ArtifactsView:
    """The artifacts of a job."""

    job: str
    artifacts: list[ArtifactView] = field(default_factory=list)
    refused: list[RefusedView] = field(default_factory=list)
    goes_at: float | None = None  # when the server's rule lets them go, or has; None: it does not
    gone: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckpointFileView:
    """One file of a checkpoint."""

    path: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class CheckpointView:
    """A checkpoint of a job. `epoch` and `step` are -1 where its manifest cannot be read."""

    job: str
    name: str
    epoch: int
    step: int
    created_at: float
    size_bytes: int
    metrics: dict[str, float] = field(default_factory=dict)
    pinned: bool = False
    names: list[str] = field(default_factory=list)  # links to it, e.g. last
    files: list[CheckpointFileView] = field(default_factory=list)
    damaged: bool = False  # files that its manifest names are missing, or of another size
    goes_at: float | None = None  # when the server's rule lets it go
    stays: str = ""  # why that rule does not
