"""leyden data: store data sets as shards, look at them, check them."""

from __future__ import annotations

import importlib

import click

from leyden.cli.usage import SETTINGS

COMMANDS = ("convert", "index", "inspect", "verify", "stats", "cache")


class _Commands(click.Group):
    """Each in a file of its own, loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"leyden.cli.data_{cmd_name}").command
        return found


@click.group(cls=_Commands, context_settings=SETTINGS, no_args_is_help=True)
def command() -> None:
    """Store data sets as shards, look at them, check them. SRC and URL are folders, files or s3://…, gs://…, https://…

    \b
    leyden data convert photos/ shards/              a folder of pictures, a folder a class
    leyden data convert "imagenet-{0000..1281}.tar" s3://bucket/imagenet
    leyden data inspect s3://bucket/imagenet         fields, shards, a sample
    leyden data verify shards/ --decode              every checksum, every picture
    leyden data stats shards/ --pixels               sizes, labels, mean and std
    leyden data cache ls                             what is kept on this machine
    """
