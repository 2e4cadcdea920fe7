"""From the command line: what a job runs from, and what differed between two."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from tests.client.test_capture import git
from tests.end_to_end.conftest import Platform
from tests.worker.wheels import settings, wheel


def test_show_and_diff_tell_commits_and_changes(platform: Platform) -> None:
    platform.write("train.py", "print('one')\n")
    git(platform.project, "init", "-q", "-b", "main")
    git(platform.project, "add", ".")
    git(platform.project, "commit", "-qm", "one")
    platform.leyden("run", "--var", "WANDB_API_KEY=abc", "train.py", "--lr", "0.1")
    platform.write("train.py", "print('two')\n")
    platform.write("new.py", "x\n")
    platform.leyden("run", "--var", "WANDB_API_KEY=xyz", "--priority", "60", "train.py", "--lr", "0.2")
    second, first = (str(job["id"]) for job in platform.json("ps"))
    shown = platform.leyden("show", second).stdout
    assert "commit" in shown
    assert "(main) +2 files\n" in shown
    assert platform.json("show", second)["commit"]["changed"] == ["new.py", "train.py"]

    text = platform.leyden("diff", first, second).stdout
    for line in ("  --lr  0.1 → 0.2", "  WANDB_API_KEY  (hidden) → (hidden)", "  priority  50 → 60", "-print('one')"):
        assert line in text.splitlines()
    assert "abc" not in text
    assert "2 files changed, +2 −1 lines" in text
    stat = platform.leyden("diff", "--stat", first, second).stdout
    assert "-print('one')" not in stat
    assert "  train.py      2 +-" in stat.splitlines()
    found = json.loads(platform.leyden("diff", first, second, "-o", "json").stdout)
    assert [file["path"] for file in found["files"]] == ["new.py", "train.py"]
    assert "no difference" in platform.leyden("diff", first, first).stdout
    assert platform.leyden("diff", first, "zzzz", check=3).stderr.startswith("error: ")


def test_code_from_a_repository_at_a_commit(platform: Platform, tmp_path: Path) -> None:
    work, bare = tmp_path / "work", tmp_path / "model.git"
    (work / "src").mkdir(parents=True)
    (work / "src" / "train.py").write_text("import sys, helper; print(helper.NAME, sys.argv[1:])\n")
    (work / "src" / "helper.py").write_text("NAME = 'first'\n")
    git(work, "init", "-q", "-b", "main")
    git(work, "add", ".")
    git(work, "commit", "-qm", "one")
    git(tmp_path, "clone", "-q", "--bare", str(work), str(bare))
    done = platform.leyden("run", "--git", f"{bare}@main:src/train.py", "--", "--lr", "0.1")
    assert done.stdout == "first ['--lr', '0.1']\n"
    detail = platform.json("show")
    assert detail["spec"]["git"] == f"{bare}@{detail['commit']['commit']}"
    assert (detail["job"]["name"], detail["commit"]["branch"], detail["commit"]["changed"]) == ("train", "main", [])
    done = platform.leyden("run", "--git", f"{bare}@mainn", "src/train.py", check=3)
    assert "no such branch, tag or commit. Check it: did you mean 'main'?" in " ".join(done.stderr.split())
    done = platform.leyden("run", "--git", str(bare), "train.py", check=3)
    assert f"train.py is to run from a copy of {bare} at " in done.stderr
    done = platform.leyden("run", "--git", f"{tmp_path}/nowhere.git:train.py", check=1)
    assert "git says: fatal: " in done.stderr
    assert "missing argument 'SCRIPT [ARGS]…'" in platform.leyden("run", "--git", str(bare), check=2).stderr


def test_environments_are_built_inferred_and_compared(platform: Platform, tmp_path: Path) -> None:
    index = tmp_path / "wheels"
    wheel(index, "alpha", "1.0")
    wheel(index, "pluggy", version("pluggy"))
    platform.environ |= settings(index)
    platform.write("train.py", "import alpha, leyden\nprint(alpha.__version__)\nleyden.log({'loss': 1.0})\n")
    platform.write("sub/requirements.txt", "alpha\n")
    done = platform.leyden("run", "--env", "sub/requirements.txt", "train.py")
    assert done.stdout.splitlines()[-1] == "1.0"
    assert "leyden: building the environment of sub/requirements.txt\n" in done.stdout
    assert platform.leyden("run", "--env", "sub/requirements.txt", "train.py").stdout == "1.0\n"
    assert "loss" in platform.leyden("metrics").stdout

    platform.write("infer.py", "import other\n")
    platform.write("other.py", "import pluggy; print(pluggy.__version__)\n")
    done = platform.leyden("run", "--env", "infer", "infer.py")
    assert f"environment inferred from imports: pluggy {version('pluggy')} (infer.py, other.py)\n" in done.stderr
    assert done.stdout.splitlines()[-1] == version("pluggy")
    found = json.loads(platform.leyden("diff", "last", platform.json("ps")[1]["id"], "-o", "json").stdout)
    facts = {fact["name"]: (fact["before"], fact["after"]) for fact in found["facts"]}
    assert facts["env"] == ("infer", "sub/requirements.txt")
    assert facts["alpha"] == (None, "1.0")

    platform.write("sub/requirements.txt", "alpha==3\n")
    done = platform.leyden("run", "--env", "sub/requirements.txt", "train.py", check=1)
    assert "there is no version of alpha==3" in done.stdout
    assert "cannot be built; uv says: " in done.stderr


def test_what_cannot_be_an_environment_is_refused_before_anything_is_handed_in(platform: Platform) -> None:
    platform.write("train.py", "")
    platform.write("requirements.txt", "x")
    platform.write(".leydenignore", "requirements.txt\n")
    for flags, code, said in (
        (["--env", "conda"], 2, "Say inherit, script or infer, or name a requirements.txt"),
        (["--env", "nowhere.txt"], 3, "nowhere.txt is to be read from a copy of "),
        (["--env", "requirements.txt"], 1, "it is ignored by .gitignore or .leydenignore"),
        (["--in-place", "--env", "infer"], 2, "that needs a copy of the code"),
    ):
        assert said in platform.leyden("run", *flags, "train.py", check=code).stderr
    done = platform.leyden("run", "--env", "infer", "--", "sh", "-c", "true", check=2)
    assert "it runs a command" in done.stderr
    platform.write("train.py", "import surely_not_installed\n")
    assert "surely_not_installed" in platform.leyden("run", "--env", "infer", "train.py", check=2).stderr
    assert not platform.home.database.exists()
