"""Runs Lightning user scripts in one process: `run_scripts.py PACKAGE RESULTS FOLDER SCRIPT…`.

In each script's text the import of `lightning` becomes one of PACKAGE; nothing else is changed. What its `main` returns
is written to RESULTS as JSON, or the traceback of what it raised. Each runs in an empty folder of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import sys
import traceback
import types
import warnings
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """As JSON can hold it; tensors as lists of numbers."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):
        return value.detach().tolist() if hasattr(value, "detach") else value.tolist()
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def run(script: Path, package: str, folder: Path) -> dict[str, Any]:
    """What the script's `main` found under this package."""
    text = re.sub(r"^(\s*)(from|import) lightning\b", rf"\1\2 {package}", script.read_text(), flags=re.MULTILINE)
    folder.mkdir(parents=True)
    os.chdir(folder)
    module = types.ModuleType(script.stem)
    module.__file__ = str(script)
    sys.modules[script.stem] = module  # as an import would: CLI and pickle look classes up by their module
    words = io.StringIO()
    try:
        with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
            exec(compile(text, str(script), "exec"), module.__dict__)
            found = module.main()
    except BaseException:
        return {"error": traceback.format_exc(), "words": words.getvalue()[-3000:]}
    return {"found": plain(found)}


def main() -> None:
    package, results, folder, *scripts = sys.argv[1], *(str(Path(one).absolute()) for one in sys.argv[2:])
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    logging.disable(logging.WARNING)
    found = {}
    for script in map(Path, scripts):
        found[script.stem] = run(script, package, Path(folder) / script.stem)
    Path(results).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
