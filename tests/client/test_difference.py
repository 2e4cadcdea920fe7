"""Does `leyden diff` name what differs, hide what is secret, and stay calm before large and binary files?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from leyden.client import difference
from leyden.client.capture import find_tree, pack
from leyden.client.difference import Fact, FileChange, compare_trees, environment_facts, spec_facts, whole
from leyden.core.environment import EnvironmentView
from tests.client.test_capture import write


def archive(root: Path, files: dict[str, str]) -> BinaryIO:
    write(root, files)
    return pack(find_tree(root)).file


def changes(tmp_path: Path, old: dict[str, str], new: dict[str, str]) -> list[FileChange]:
    with archive(tmp_path / "old", old) as before, archive(tmp_path / "new", new) as after:
        return list(compare_trees(before, after))


def test_code_is_compared_by_line(tmp_path: Path) -> None:
    old = {"train.py": "a\nb\nc\n", "gone.py": "x\n", "same.py": "s\n", "end.py": "e\n"}
    new = {"train.py": "a\nB\nc\n", "sub/new.py": "n\nm\n", "same.py": "s\n", "end.py": "e"}
    end, gone, fresh, train = changes(tmp_path, old, new)
    assert (train.path, train.what, train.added, train.removed) == ("train.py", "changed", 1, 1)
    assert train.text.splitlines() == ["--- a/train.py", "+++ b/train.py", "@@ -1,3 +1,3 @@", " a", "-b", "+B", " c"]
    assert (gone.path, gone.what, gone.removed) == ("gone.py", "removed", 1)
    assert gone.text.startswith("--- a/gone.py\n+++ /dev/null\n")
    assert (fresh.path, fresh.what, fresh.added) == ("sub/new.py", "added", 2)
    assert end.text.endswith("-e\n+e\n\\ No newline at end of file")


def test_binary_large_and_linked_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(difference, "MAX_TEXT_BYTES", 100)
    for name in ("old", "new"):
        write(tmp_path / name, {"run.sh": "r\n"})
        (tmp_path / name / "link").symlink_to("run.sh" if name == "old" else "table.csv")
    (tmp_path / "new" / "run.sh").chmod(0o755)
    found = changes(
        tmp_path,
        {"weights": "\0\1", "table.csv": "1\n" * 100},
        {"weights": "\0\1\2", "table.csv": "2\n" * 100},
    )
    assert {one.path: one.note for one in found} == {
        "link": "link to run.sh → table.csv",
        "run.sh": "mode 644 → 755",
        "table.csv": "too large to compare by line: 200 B → 200 B",
        "weights": "binary: 2 B → 3 B",
    }
    assert all(not one.text for one in found)


def test_odd_bytes_do_no_harm(tmp_path: Path) -> None:
    for name, content in (("old", b"\xff\r\nform\ffeed\n"), ("new", b"\xfe\r\nform\ffeed\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / os.fsdecode(b"latin-\xe9.txt")).write_bytes(content)
    (found,) = changes(tmp_path, {}, {})
    assert found.text.split("\n")[3:5] == ["-\\xff\r", "+\\xfe\r"]
    assert (found.added, found.removed) == (1, 1)


def facts(one: dict[str, object], other: dict[str, object]) -> list[tuple[str, str, str | None, str | None]]:
    return [(fact.section, fact.name, fact.before, fact.after) for fact in spec_facts(one, other)]


def test_arguments_variables_size_and_policy() -> None:
    one: dict[str, object] = {
        "script": "train.py", "command": [], "args": ["--lr", "0.1", "--fast", "--api-token=abc", "data"],
        "vars": {"SEED": "1", "WANDB_API_KEY": "x", "OLD": "o"}, "gpus": None, "priority": 50, "warm": True,
        "limits": {"idle": None, "stall": None}, "env": "inherit", "name": "a",
    }  # fmt: skip
    other: dict[str, object] = {
        "script": "train.py", "command": [], "args": ["--api-token", "xyz", "data", "--lr", "-0.2"],
        "vars": {"SEED": "2", "WANDB_API_KEY": "y"}, "gpus": "A100:2", "priority": 50, "warm": True,
        "limits": {"idle": None, "stall": 60.0}, "env": "uv.lock", "name": "a",
    }  # fmt: skip
    assert facts(one, other) == [
        ("arguments", "--lr", "0.1", "-0.2"),
        ("arguments", "--fast", "", None),
        ("arguments", "--api-token", "(hidden)", "(hidden)"),
        ("variables", "SEED", "1", "2"),
        ("variables", "WANDB_API_KEY", "(hidden)", "(hidden)"),
        ("variables", "OLD", "o", None),
        ("environment", "env", "inherit", "uv.lock"),
        ("size", "gpus", None, "A100:2"),
        ("policy", "limits", None, "stall 1m"),
    ]
    assert facts(one, one) == []


def test_what_a_spec_leaves_out_is_the_default() -> None:
    short = {"script": "train.py", "python": "/p", "retry": {"user": 1}}
    long = {**short, "priority": 50, "env": "inherit", "limits": {"stall": None}, "retry": {"infra": 100, "user": 1}}
    assert facts(whole(short), whole(long)) == []
    assert facts(whole(short), whole({**long, "priority": 60})) == [("policy", "priority", "50", "60")]


def test_packages_are_compared_by_name() -> None:
    one = EnvironmentView(env="inherit", python="/a/python", version="3.11.7", packages=("numpy==1", "torch==2"))
    other = EnvironmentView(
        env="uv.lock", key="k", python="/b/python", version="3.12.1", packages=("six==1", "torch==3")
    )
    assert environment_facts(one, other) == [
        Fact(section="environment", name="key", before=None, after="k"),
        Fact(section="environment", name="Python", before="3.11.7", after="3.12.1"),
        Fact(section="environment", name="numpy", before="1", after=None),
        Fact(section="environment", name="torch", before="2", after="3"),
        Fact(section="environment", name="six", before=None, after="1"),
    ]
    (unknown,) = environment_facts(one, None)
    assert (unknown.before, unknown.after) == ("2 packages", "(not on record)")
    assert environment_facts(None, None) == []
