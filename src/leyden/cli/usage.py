"""How does Click read one command's arguments, and how do its complaints become ours?"""

from __future__ import annotations

import click

from leyden.core.errors import UsageError, nearest

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
# Flags of ours stand before the script; from the first other word on, everything is the script's.
SCRIPT_SETTINGS = {**SETTINGS, "allow_interspersed_args": False}

json_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    metavar="FORMAT",
    help="text (the default) or json.",
)


def invoke(command: click.Command, name: str, arguments: list[str]) -> int:
    """Run the command; its exit code. A command line that cannot be read raises our UsageError."""
    try:
        # Not command.main: it has its own ways with Ctrl-C and broken pipes.
        with command.make_context(f"leyden {name}", list(arguments)) as context:
            code = command.invoke(context)
    except click.exceptions.Exit as stop:  # --help has printed
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 0
    except click.NoSuchOption as error:
        raise _no_such_flag(error) from None
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else f"leyden {name}"
        found = error.format_message().strip().rstrip(".")
        raise UsageError(
            asked=f"`{' '.join(['leyden', name, *arguments[:6]])}`",
            found=found[0].lower() + found[1:],
            do=f"See `{path} --help`.",
        ) from None
    return code if isinstance(code, int) else 0


def _no_such_flag(error: click.NoSuchOption) -> UsageError:
    context = error.ctx
    assert context is not None  # Click's parser always gives it
    path, own_flags_first = context.command_path, not context.allow_interspersed_args
    known = [one for parameter in context.command.params for one in parameter.opts if one.startswith("--")]
    advice = nearest(error.option_name, known)
    do = f"Did you mean {advice.split(chr(39))[1]}? " if advice.endswith("?") else ""
    do += f"See `{path} --help`." + (" Flags of the script stand after its name." if own_flags_first else "")
    return UsageError(asked=f"`{path} {error.option_name}`", found="there is no such flag", do=do)
