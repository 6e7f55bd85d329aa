"""The commands cache list and cache prune, and their results as text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gns3_minivm.base.plurals import counted
from gns3_minivm.base.sizes import binary_size
from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.session import Session

if TYPE_CHECKING:
    from gns3_minivm.ops.cache import CacheItem, CacheList, PruneResult

_ID_SHOWN = 12


@click.group()
def cache() -> None:
    """Finished disks and kernel bundles, kept so that nothing is made twice."""


@cache.command("list")
@click.option("--verify", is_flag=True, help="Read everything, and report damaged entries (exit status 1).")
@options.common
@pass_session
def cache_list(session: Session, verify: bool) -> int:
    """List the cache, last used first."""
    from gns3_minivm.ops.cache import cache_list as perform

    found = session.perform(lambda context: perform(context, verify=verify))
    session.show(found.as_dict(), _listed(found))
    if found.exit_status:
        session.complain(
            "`gns3-minivm cache prune --damaged` removes damaged entries; they are then made again when needed."
        )
    return found.exit_status


@cache.command("prune")
@click.option("--all", "everything", is_flag=True, help="Remove everything, including apt's lists.")
@click.option("--to", metavar="SIZE",
              help="Remove the least recently used entries until SIZE is left, as in 5G (default: the "
                   "cache's limit).")  # fmt: skip
@click.option(
    "--older-than", metavar="AGE", help="Remove entries that were not used for AGE, as in 30d, 12h, 2w or 90m."
)
@click.option(
    "--damaged", is_flag=True, help="Read everything, and remove entries that have changed since they were made."
)
@options.dry_run
@options.common
@pass_session
def cache_prune(session: Session, everything: bool, to: str | None, older_than: str | None, damaged: bool) -> None:
    """Remove entries from the cache, but none that a running gns3-minivm uses.

    This also happens automatically: when something new makes the cache larger than its limit (--cache-size), the
    least recently used entries go.
    """
    from gns3_minivm.ops.cache import PruneRequest
    from gns3_minivm.ops.cache import cache_prune as perform

    request = PruneRequest(to=to, older_than=older_than, everything=everything, damaged=damaged)
    result = session.perform(lambda context: perform(request, context))
    session.show(result.as_dict(), _pruned(result))


def _listed(found: CacheList) -> str:
    limit = "no limit" if found.limit_bytes is None else f"limit {binary_size(found.limit_bytes)}"
    lines = [_line(item, _remarks(item)) for item in found.items]
    lines += _others(found.others)
    entries = counted(len(found.items), "entry", "entries")
    return "\n".join([*lines, f"{found.root}: {entries}, {binary_size(found.size_bytes)}, {limit}"])


def _remarks(item: CacheItem) -> str:
    remarks = ["in use"] * item.in_use
    if item.is_intact is not None:
        remarks.append("intact" if item.is_intact else "damaged")
    return f" ({', '.join(remarks)})" if remarks else ""


def _line(item: CacheItem, more: str = "") -> str:
    stored = item.stored
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(stored.used_at))
    kind = "disk" if stored.kind == "disks" else "kernel"
    name = item.name or "incomplete"
    return f"{when}  {kind:6}  {stored.recipe[:_ID_SHOWN]:12}  {binary_size(stored.size_bytes):>11}  {name}{more}"


def _others(others: Sequence[tuple[Path, int]]) -> list[str]:
    return [f"{'':16}  {'other':6}  {'':12}  {binary_size(size_bytes):>11}  {path.name}" for path, size_bytes in others]


def _pruned(result: PruneResult) -> str:
    lines = [_line(item) for item in result.removed] + _others(result.others)
    lines += [_line(item, " (in use, stays)") for item in result.in_use]
    count = len(result.removed) + len(result.others)
    verb = "would remove" if result.dry_run else "removed"
    lines.append(f"{verb} {count}, {binary_size(result.removed_bytes)}; {binary_size(result.left_bytes)} left")
    return "\n".join(lines + ["dry run: nothing was removed"] * result.dry_run)
