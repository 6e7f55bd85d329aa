"""``convert``: writes the disk of an image to a file of the user's."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import MiniVMError
from gns3_minivm.base.output import OutputCopy
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.templates.sources import NotYet, Workshop


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """``artifact`` is None for a dry run; ``cached`` tells whether the disk had been converted before.

    ``pending`` lists steps that must come first for a dry run to know the rest; ``recipe`` is empty until then.
    """

    image: str
    output: Path
    recipe: str
    filename: str
    artifact: Artifact | None
    cached: bool
    elapsed_s: float
    pending: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "image": self.image,
            "output": str(self.output),
            "recipe": self.recipe,
            "filename": self.filename,
            "disk": self.artifact.as_dict() if self.artifact else None,
            "cached": self.cached,
            "pending": list(self.pending),
            "elapsed_s": round(self.elapsed_s, 3),
        }


async def convert_image(image: str, output: Path, context: RunContext, *, force: bool = False) -> ConvertResult:
    """Convert an image or appliance to the qcow2 file ``output``, which is replaced only with ``force``.

    Raises UserError, ImageError, HostError.
    """
    started = time.monotonic()
    copy = OutputCopy(output, replace=force)
    workshop = Workshop(context)
    try:
        source = await workshop.find(image)
        artifact = workshop.converted(source)
        cached = artifact is not None
        if context.dry_run:
            artifact = None
        else:
            with copy:
                artifact = artifact or await workshop.disk(source, lambda disk: _fill_early(copy, disk))
                with context.events.step(f"Write {output}", total=artifact.size_bytes, unit="bytes") as step:
                    if not copy.is_filled:
                        await run_blocking(copy.fill, artifact.path, step)
                    await run_blocking(copy.name)
    except NotYet as first:
        return ConvertResult(
            image=image,
            output=output,
            recipe="",
            filename="",
            artifact=None,
            cached=False,
            elapsed_s=time.monotonic() - started,
            pending=(first.step,),
        )
    finally:
        workshop.close()
    elapsed_s = time.monotonic() - started
    return ConvertResult(
        image=image,
        output=output,
        recipe=source.recipe.id,
        filename=source.recipe.filename,
        artifact=artifact,
        cached=cached,
        elapsed_s=elapsed_s,
    )


def _fill_early(copy: OutputCopy, disk: Path) -> None:
    # What keeps the copy from being made is no failure of the conversion; it is told when the copy is tried again.
    with suppress(MiniVMError):
        copy.fill(disk)
