"""What was a run given, where its program does not say so? The arguments it was started with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

ARGS: Final = "args"  # under that name they stand beside what the program has logged itself
_MOST: Final = 1000  # words; a shell's *.tar may be a hundred thousand
_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_OPTION: Final = re.compile(r"--?([A-Za-z][\w.-]*)(?:=(.*))?", re.DOTALL)
_PAIR: Final = re.compile(r"\+{0,2}([A-Za-z_][\w./-]*)=(.*)", re.DOTALL)  # Hydra's
_SECRET: Final = re.compile(
    r"(^|[_.-])(token|secret|passw(or)?d|credentials?|(api|access|secret)[_-]?key)$", re.IGNORECASE
)


def config_of(words: Sequence[str]) -> dict[str, Any]:
    """Names and values of options, as most programs read them; what is left over stands in `arguments`.

    >>> config_of(["--lr", "0.1", "--width=32", "--amp", "--sizes", "64", "32", "-b", "8", "data.csv", "model.depth=3"])
    {'lr': 0.1, 'width': 32, 'amp': True, 'sizes': [64, 32], 'b': 8, 'model.depth': 3, 'arguments': 'data.csv'}
    >>> config_of(["--batch-size", "8", "--shift", "-0.5", "--api-key", "xyz", "--", "--lr", "1"])
    {'batch_size': 8, 'shift': -0.5, 'arguments': '--lr 1'}
    """
    found: dict[str, Any] = {}
    rest: list[str] = []
    words, at = words[:_MOST], 0
    while at < len(words):
        word, at = words[at], at + 1
        if word == "--":
            rest += words[at:]
            break
        option = None if _NUMBER.fullmatch(word) else _OPTION.fullmatch(word)
        pair = option or _PAIR.fullmatch(word)
        if pair is None:
            rest.append(word)
            continue
        value: Any = True if pair[2] is None else _value(pair[2])
        if option is not None and pair[2] is None:
            taken = _taken(words[at:])
            at += len(taken)
            value = [_value(one) for one in taken] if len(taken) > 1 else _value(taken[0]) if taken else True
        if not _SECRET.search(pair[1]):
            found[pair[1].replace("-", "_")] = value
    return {**found, "arguments": " ".join(rest)} if rest else found


def words_of(command: Sequence[str]) -> Sequence[str]:
    """What comes after the program: after a script or module of Python's; of a shell's lines nothing.

    >>> words_of(["torchrun", "--nproc", "2", "train.py", "--lr", "1"]), words_of(["python", "-m", "train", "-c", "1"])
    (['--lr', '1'], ['-c', '1'])
    >>> words_of(["bash", "-c", "echo"]), words_of(["./train", "-x", "-c", "1"])
    ([], ['-x', '-c', '1'])
    """
    for at, word in enumerate(command):
        if at == 1 and word in ("-c", "-lc"):
            return []
        if word == "-m":
            return command[at + 2 :]
        if PurePath(word).suffix == ".py":
            return command[at + 1 :]
    return command[1:]


def beside(logged: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What the program logged, and, marked, those of its arguments that it did not."""
    others = {name: value for name, value in given.items() if name not in logged}
    if not logged or not others or ARGS in logged:
        return dict(logged or given)
    return {**logged, ARGS: others}


def _taken(words: Sequence[str]) -> Sequence[str]:
    """The values of an option: the next word, and further ones only where all are numbers."""
    end = 0
    while end < len(words) and _NUMBER.fullmatch(words[end]):
        end += 1
    if not end and words and not _OPTION.fullmatch(words[0]) and words[0] != "--":
        end = 1
    return words[:end]


def _value(text: str) -> Any:
    if _NUMBER.fullmatch(text):
        return int(text) if re.fullmatch(r"[-+]?\d+", text) and len(text) < 16 else float(text)
    return {"true": True, "false": False}.get(text.lower(), text)
