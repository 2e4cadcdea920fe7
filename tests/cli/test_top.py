"""Does `leyden top` name everybody who has a part of a GPU?"""

from __future__ import annotations

import pytest

from leyden.cli.top import page
from leyden.core.machine_views import GpuTop, JobTop, TopView


def a_gpu(index: int, job: str) -> GpuTop:
    return GpuTop(
        index=index, name="A100", memory_bytes=80_000_000_000, job=job, job_name=job and "digits", user=job and "ada",
        use_percent=50.0 if job else None, used_bytes=None, power_w=None, idle_s=0.0,
    )  # fmt: skip


def a_job(job: str, *devices: str) -> JobTop:
    return JobTop(
        id=job, name="digits", user="ada", devices=list(devices), started_at=0.0, cpu_percent=None, memory_bytes=None
    )


def test_who_shares_a_gpu_stands_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    jobs = [a_job("000000000a", "gpu:0/4.0", "cpu:0"), a_job("000000000b", "gpu:0/4.2", "cpu:1")]
    gpus = [a_gpu(0, "000000000a"), a_gpu(1, "000000000c"), a_gpu(2, "")]
    view = TopView(
        at=0.0, node="n", cpus=8, cpus_held=3, memory_bytes=1, gpus=gpus,
        jobs=[*jobs, a_job("000000000c", "gpu:1", "cpu:2")], waiting=[], waiting_count=0,
    )  # fmt: skip
    rows = [line.split() for line in page(view).splitlines()[2:6]]
    assert rows == [
        ["0/4.0", "A100", "50", "%", "80", "GB", "000a", "digits", "ada"],
        ["0/4.2", "000b", "digits", "ada"],
        ["1", "A100", "50", "%", "80", "GB", "000c", "digits", "ada"],
        ["2", "A100", "80", "GB", "free"],
    ]
