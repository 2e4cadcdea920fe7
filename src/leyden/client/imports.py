"""Which packages does a script need? What it and the modules beside it import, at the submitter's versions.

Only names are looked at, nothing is run. A module that is imported within `try` may be missing; what is imported for
type checkers alone is left out.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from leyden.core.errors import SpecError

_OURS = "leyden"  # is there on the other side, and what its Trainer needs too (worker/environment.py)


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """The packages found, and the files that import them."""

    requirements: tuple[str, ...]  # "name==version"
    files: tuple[str, ...]

    def describe(self) -> str:
        """For the submitter.

        >>> Inferred(requirements=("torch==2.13.0", "six==1.17.0"), files=("train.py", "model.py")).describe()
        'environment inferred from imports: torch 2.13.0, six 1.17.0 (train.py, model.py)'
        """
        found = ", ".join(one.replace("==", " ") for one in self.requirements) or "nothing beyond Python itself"
        more = f" and {len(self.files) - 5} more" if len(self.files) > 5 else ""
        return f"environment inferred from imports: {found} ({', '.join(self.files[:5])}{more})"


@dataclass(frozen=True, kw_only=True)
class _Import:
    """One import statement's module."""

    name: str  # dotted
    where: str  # file:line
    optional: bool


@dataclass
class _Search:
    """Walks from the script through local modules."""

    root: Path
    files: frozenset[str]
    base: PurePosixPath  # the script's folder: the first place Python looks
    seen: list[str] = field(default_factory=list)
    found: list[_Import] = field(default_factory=list)

    def visit(self, name: str) -> None:
        if name in self.seen:
            return
        self.seen.append(name)
        tree = _parsed(self.root / name)
        package = PurePosixPath(name).parent
        for node, optional in _statements(tree):
            for module, level in _modules(node):
                near = package.joinpath(*[".."] * (level - 1)) if level else self.base
                inside = self._local(_flat(near), module)
                for one in inside:
                    self.visit(one)
                if not inside and not level:
                    self.found.append(_Import(name=module, where=f"{name}:{node.lineno}", optional=optional))

    def _local(self, folder: PurePosixPath, module: str) -> list[str]:
        """The files of the tree that importing the module would run; none where it is not of the tree."""
        found, at = [], folder
        for part in [one for one in module.split(".") if one]:
            at /= part
            options = (f"{at}.py", f"{at}/__init__.py")
            found += [one for one in options if one in self.files][:1]
        if not module and f"{folder}/__init__.py" in self.files:
            found.append(f"{folder}/__init__.py")
        return found


def infer(root: Path, files: Sequence[str], script: str, *, python: str = sys.executable) -> Inferred:
    """The packages of the script, a path within `root`, at the versions `python` has. Raises SpecError."""
    search = _Search(root=root, files=frozenset(files), base=PurePosixPath(script).parent)
    search.visit(script)
    owners = _Owners.of(python)
    needed: dict[str, None] = {}
    for one in search.found:
        top = one.name.partition(".")[0]
        if top == _OURS:
            needed.update(dict.fromkeys(owners.of_ours(one.name)))
            continue
        if top in sys.stdlib_module_names:
            continue
        requirements = owners.of_module(one.name)
        if requirements is None and not one.optional:
            raise SpecError(
                asked=f"the environment is to be inferred from imports, and {one.where} imports {top}",
                found=f"no package of {python} provides that",
                do="Install it there, or list what the script needs in a file: --env requirements.txt.",
            )
        needed.update(dict.fromkeys(requirements or ()))
    return Inferred(requirements=tuple(sorted(needed)), files=tuple(search.seen))


@dataclass(frozen=True, kw_only=True)
class _Owners:
    """Which distributions of an interpreter own which modules."""

    python: str
    modules: Mapping[str, Sequence[str]]  # top-level module → distributions
    requirements: Mapping[str, str]  # distribution → how to ask for it; "" for what no index has
    extras: Mapping[str, Sequence[str]]  # extra of leyden → distributions
    below: Mapping[str, Sequence[str]]  # distribution → its dotted packages, for modules that several share

    @classmethod
    def of(cls, python: str) -> _Owners:
        """Asks that interpreter, so that a `leyden` installed on its own sees the project's packages."""
        done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise SpecError(
                asked=f"the packages of {python} are to be listed", found=f"it says: {last}", do="Check that Python."
            )
        return cls(python=python, **json.loads(done.stdout))

    def of_ours(self, name: str) -> list[str]:
        """What a part of leyden needs that has an extra of its name, as leyden.data has."""
        part = name.split(".")[1] if "." in name else ""
        known = {one.lower(): requirement for one, requirement in self.requirements.items()}
        return [known[one.lower()] for one in self.extras.get(part, ()) if known.get(one.lower())]

    def of_module(self, name: str) -> list[str] | None:
        """What to install for the dotted module; None where nothing here provides it."""
        names = self.modules.get(name.partition(".")[0])
        if not names:
            return None
        if len(names) > 1:  # a namespace such as google: only those that hold what is imported
            names = [one for one in names if any(_overlap(name, each) for each in self.below.get(one, ()))] or names
        for one in names:
            if not self.requirements[one]:
                raise SpecError(
                    asked=f"the environment is to be inferred from imports, and the script imports {name}",
                    found=f"{one} is installed from a folder of this machine, which no other environment can have",
                    do="Copy its package into the project, or give its files by --env requirements.txt.",
                )
        return [self.requirements[one] for one in dict.fromkeys(names)]


# Local versions ("2.13.0+cpu") name a build of one index; the number alone is what others offer.
_ASK = r"""
import importlib.metadata as metadata, json, re
modules = {name: sorted(set(owners)) for name, owners in metadata.packages_distributions().items()}
requirements, below = {}, {}
for one in metadata.distributions():
    name = one.metadata["Name"]
    if not name or name in requirements:
        continue
    origin = json.loads(one.read_text("direct_url.json") or "{}")
    if origin.get("vcs_info"):
        place = f"{origin['vcs_info']['vcs']}+{origin['url']}@{origin['vcs_info']['commit_id']}"
        requirements[name] = f"{name} @ {place}"
    elif origin.get("dir_info") is not None:
        requirements[name] = ""
    else:
        requirements[name] = f"{name}=={one.version.partition('+')[0]}"
shared = {one for owners in modules.values() if len(owners) > 1 for one in owners}
for name in shared:
    files = metadata.distribution(name).files or []
    below[name] = sorted({".".join(path.parts[:-1]) for path in files if path.suffix in (".py", ".so")})
extras = {}
for line in (metadata.requires("leyden") if "leyden" in requirements else None) or ():
    if found := re.match(r"([\w.-]+).*; *extra == .(data|parquet).$", line):
        extras.setdefault(found[2], []).append(found[1])
print(json.dumps({"modules": modules, "requirements": requirements, "extras": extras, "below": below}))
"""


def _overlap(module: str, package: str) -> bool:
    """Whether one lies within the other.

    >>> _overlap("google.cloud.storage.blob", "google.cloud.storage"), _overlap("google.auth", "google.cloud.storage")
    (True, False)
    """
    pairs = zip(module.split("."), package.split("."), strict=False)
    return bool(package) and all(one == other for one, other in pairs)


def _statements(tree: ast.AST, *, optional: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import of the module, and whether it may fail."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, optional
        elif isinstance(node, ast.If) and _for_checkers(node.test):
            for one in node.orelse:
                yield from _statements(ast.Module(body=[one], type_ignores=[]), optional=optional)
        else:
            yield from _statements(node, optional=optional or isinstance(node, ast.Try))


def _for_checkers(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _modules(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, int]]:
    """The dotted modules that the statement may load, and how many dots stand before."""
    if isinstance(node, ast.Import):
        yield from ((one.name, 0) for one in node.names)
        return
    start = node.module or ""
    if not node.names or node.names[0].name == "*":
        yield start, node.level
    for one in node.names:
        if one.name != "*":
            yield f"{start}.{one.name}" if start else one.name, node.level


def _flat(path: PurePosixPath) -> PurePosixPath:
    """Without `..`."""
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return PurePosixPath(*parts)


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise SpecError(
            asked=f"the environment is to be inferred from the imports of {path.name}",
            found=f"it is not Python: {error}",
            do="Correct it, or list what the job needs in a file: --env requirements.txt.",
        ) from None
