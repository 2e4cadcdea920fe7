"""leyden quota: how much may a user hold at a time?"""

from __future__ import annotations

import sys

import click

from leyden.cli.common import ensured, print_json
from leyden.cli.screen import Cell, columns, painter, table
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.errors import UsageError
from leyden.core.machine_views import QuotaView
from leyden.core.units import format_duration


@click.command(context_settings=SETTINGS)
@click.argument("user", required=False)
@click.option("--gpus", metavar="N", help="GPUs at most; 'none' for no limit.")
@click.option("--cpus", metavar="N", help="CPUs at most; 'none' for no limit.")
@click.option("--remove", is_flag=True, help="Have the user under the rule for everybody ('*') again.")
@json_option
def command(user: str | None, gpus: str | None, cpus: str | None, remove: bool, output: str) -> None:
    """Show who may hold how much and has used how much of late, or set it. '*' stands for whoever has no quota.

    \b
    leyden quota                     everybody
    leyden quota ada --gpus 4        ada holds four GPUs at a time at most
    leyden quota '*' --gpus 2        everybody else two
    leyden quota ada --remove
    """
    client = ensured()
    if user is None and (remove or gpus or cpus):
        raise UsageError(asked="a quota is to be changed", found="whose, is not said", do="Write `leyden quota ada …`.")
    if user is not None and remove:
        client.remove_quota(user)
    elif user is not None and (gpus or cpus):
        client.set_quota(user, gpus=_number(gpus), cpus=_number(cpus))
    found = [one for one in client.quotas() if user in (None, one.user)]
    if output == "json":
        print_json(found)
    elif found:
        print(_table(found))
    else:
        print("no quotas, and nothing was used of late" if user is None else f"{user} has no quota of their own")


def _number(text: str | None) -> int | None:
    if text is None or text == "none":
        return None
    if not text.isdigit():
        raise UsageError(asked=f"a quota of {text}", found="that is no number", do="Write e.g. 4, or none.")
    return int(text)


def _table(found: list[QuotaView]) -> str:
    heads = ["user", "GPUs", "CPUs", "GPUs now", "CPUs now", "used of late", "of all"]
    rows = [
        [
            Cell(text=one.user),
            *(Cell(text="any" if most is None else str(most), right=True) for most in (one.gpus, one.cpus)),
            *(Cell(text=f"{held:.6g}", right=True) for held in (one.held_gpus, one.held_cpus)),
            Cell(text=format_duration(one.used_device_s) if one.used_device_s else "", right=True),
            Cell(text=f"{one.share:.0%}" if one.used_device_s else "", right=True),
        ]
        for one in found
    ]
    return table(heads, rows, width=columns(sys.stdout), paint=painter(sys.stdout))
