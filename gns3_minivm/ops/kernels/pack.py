"""``kernel pack``: a kernel bundle as a wheel."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm import __version__
from gns3_minivm.base.cache import disk_error
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import UsageError
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.bundle.wheel import wheel_name, write_wheel
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.kernels.bundles import bundle_dict, find_chosen
from gns3_minivm.ops.kernels.choice import KernelChoice


@dataclass(frozen=True, kw_only=True)
class PackResult:
    bundle: Bundle
    wheel: Path
    size_bytes: int
    elapsed_s: float
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        return {
            "bundle": bundle_dict(self.bundle),
            "wheel": str(self.wheel),
            "size_bytes": self.size_bytes,
            "elapsed_s": round(self.elapsed_s, 3),
            "dry_run": self.dry_run,
        }


async def kernel_pack(name: str, folder: Path, context: RunContext, *, force: bool = False) -> PackResult:
    """Write the wheel of a bundle that is in the cache; ``name`` is as for ``--kernel``.

    Raises UsageError for a bundle that does not exist or a wheel that does, DiskFullError.
    """
    started = time.monotonic()
    bundle = await run_blocking(find_chosen, context.settings.open_cache(), KernelChoice(name=name))
    if bundle is None:
        flavour = f" --flavour {name}" if name != "debian" else ""
        raise UsageError(
            f"there is no kernel bundle {name!r} to pack", hint=f"Build it: `gns3-minivm kernel build{flavour}`."
        )
    target = folder / wheel_name(bundle)
    if not folder.is_dir():
        raise UsageError(
            f"the folder {folder} for the wheel does not exist", hint="Create it, or name another: --output DIR."
        )
    if target.exists() and not force:
        raise UsageError(f"{target} exists already", hint="Add --force to replace it.")
    if not context.dry_run:
        with context.events.step(f"Writing {target.name}"):
            await run_blocking(_write, bundle, target)
    size_bytes = 0 if context.dry_run else target.stat().st_size
    return PackResult(
        bundle=bundle,
        wheel=target,
        size_bytes=size_bytes,
        elapsed_s=time.monotonic() - started,
        dry_run=context.dry_run,
    )


def _write(bundle: Bundle, target: Path) -> None:
    work = target.with_name(f".{target.name}.part")
    try:
        write_wheel(bundle, work, f"gns3-minivm {__version__}")
        work.replace(target)
    except OSError as error:
        raise (disk_error(error, target.parent, "") or error) from error
    finally:
        work.unlink(missing_ok=True)
