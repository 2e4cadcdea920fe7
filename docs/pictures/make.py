"""Draws docs/pictures/run.svg from a real run of the digits example: python docs/pictures/make.py

Every line in the picture is what the commands printed on this machine, in a terminal 100 columns wide.
"""

from __future__ import annotations

import io
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).parents[2]
COLUMNS = 100
COMMANDS = ("leyden run train.py --lr 0.003", "leyden metrics train_loss val_acc --plot")


def main() -> None:
    bin_folder = Path(sys.executable).parent
    with tempfile.TemporaryDirectory(prefix="ley") as folder:
        work = Path(folder, "digits")
        shutil.copytree(ROOT / "examples" / "digits", work, ignore=shutil.ignore_patterns("__pycache__", "leyden_runs"))
        environ = {
            **os.environ,
            "LEYDEN_HOME": f"{folder}/.leyden",
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "COLUMNS": str(COLUMNS),
        }
        environ.pop("NO_COLOR", None)
        try:
            subprocess.run(["leyden", "server", "start"], env=environ, check=True, capture_output=True)
            screens = [(command, in_terminal(command, work, environ)) for command in COMMANDS]
        finally:
            subprocess.run(["leyden", "server", "stop"], env=environ, check=False, capture_output=True)
        draw([(command, screen.replace(f"{folder}/.leyden", "~/.leyden")) for command, screen in screens])


def in_terminal(command: str, folder: Path, environ: dict[str, str]) -> str:
    """What the command prints on a terminal."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        command.split(), cwd=folder, env=environ, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    output = b""
    try:
        while chunk := os.read(master, 65536):
            output += chunk
    except OSError:  # Linux's way of saying that the other end is closed
        pass
    os.close(master)
    if process.wait():
        raise SystemExit(f"{command} failed:\n{output.decode()}")
    return output.decode().replace("\r\n", "\n")


def draw(screens: list[tuple[str, str]]) -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for command, screen in screens:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(Text.from_ansi(screen.rstrip()), soft_wrap=True)
        console.print()
    svg = console.export_svg(title="leyden", theme=MONOKAI, code_format=_FORMAT)
    Path(__file__).with_name("run.svg").write_text(svg)


# Rich's own template asks a content delivery network for its font; the reader's own will do.
_FORMAT = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""

if __name__ == "__main__":
    main()
