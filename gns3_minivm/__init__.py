"""gns3-minivm: Docker and OCI images as small QEMU machines on GNS3 servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gns3_minivm.api.agent import Agent

__all__ = ["Agent", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loaded only for programs that use it: the command line starts in a tenth of the time.
    if name == "Agent":
        from gns3_minivm.api.agent import Agent

        return Agent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
