"""Is a difference between two jobs shown whole, in colours, and without what could move the cursor?"""

from __future__ import annotations

from leyden.cli.diff import page
from leyden.cli.screen import GREEN, RED
from leyden.client.difference import Difference, Fact, FileChange

TEXT = "--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-old\x1b[2J\n+\tnew"
FILES = (
    FileChange(path="train.py", what="changed", added=1, removed=1, text=TEXT),
    FileChange(path="wei\nghts", what="added", note="binary: nothing → 3 B"),
)


def shown(*facts: Fact, files: tuple[FileChange, ...] = (), stat: bool = False) -> list[str]:
    def paint(text: str, *codes: str) -> str:
        return f"<{text}>" if RED in codes else f"[{text}]" if GREEN in codes else text

    difference = Difference(before="0000000001", after="0000000002", facts=facts, files=files)
    return list(page(difference, paint, stat=stat))


def a_fact(name: str, before: str | None, after: str | None, section: str = "arguments") -> Fact:
    return Fact(section=section, name=name, before=before, after=after)


def test_what_was_and_what_is_have_their_colours() -> None:
    lines = shown(a_fact("--lr", "0.1", "0.2"), a_fact("--fast", "", None), a_fact("--new", None, "x"), files=FILES)
    assert lines[0] == "0001 → 0002"
    assert lines[2:6] == ["Arguments", "  --lr    <0.1> → [0.2]", "  --fast  <->", "  --new   [+ x]"]
    assert lines[7] == "2 files changed, +1 −1 lines"
    assert lines[8:14] == [
        "changed train.py",
        "--- a/train.py",
        "+++ b/train.py",
        "@@ -1 +1 @@",
        "<-old?[2J>",
        "[+\tnew]",
    ]
    assert lines[14] == "added wei?ghts (binary: nothing → 3 B)"


def test_counts_alone() -> None:
    assert shown(files=FILES, stat=True)[3:] == [
        "  train.py      2 [+]<->",
        "  wei?ghts   added binary: nothing → 3 B",
    ]


def test_of_many_packages_that_one_side_lacks_the_first_are_shown() -> None:
    facts = [a_fact(f"p{number}", "1", None, "environment") for number in range(100)]
    lines = shown(*facts, a_fact("torch", "1", "2", "environment"))
    assert len(lines) == 3 + 20 + 1 + 1
    assert lines[-2] == "  torch  <1> → [2]"
    assert lines[-1].startswith("  … and 80 that only one side has")


def test_no_difference_is_said() -> None:
    assert shown() == ["0001 → 0002", "  no difference in code, arguments, variables, environment, size or policy"]
