"""Is memory in huge pages the same memory, and does a process that cannot have them go on?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from leyden.worker import huge

PROGRAM = """
import hashlib, json, mmap, os
from leyden.worker.huge import use_huge_pages
held = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
held.write(os.urandom(1 << 20) * 64)
before = hashlib.sha256(held).hexdigest()
made = use_huge_pages()
if not (child := os.fork()):
    held[5] ^= 1  # its own copy
    os._exit(hashlib.sha256(held).hexdigest() == before)
_, status = os.waitpid(child, 0)
found = next(line for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHugePages"))
same = hashlib.sha256(held).hexdigest() == before
print(json.dumps({"made": made, "huge_kb": int(found.split()[1]), "same": same, "child": status}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages of Linux")
def test_memory_in_huge_pages_is_the_same_memory() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["same"], found["child"]) == (True, 0)
    if found["made"] < 31:
        pytest.skip("this kernel makes none, as it is older than 6.1, or has not enough free memory in one piece")
    assert found["huge_kb"] >= 16 * 2048


def test_a_kernel_without_them_makes_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huge, "_SIZE", tmp_path / "hpage_pmd_size")
    assert huge.use_huge_pages() == 0
