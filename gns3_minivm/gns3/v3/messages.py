"""What API v3 expects differently: node names are host names, and the compute may be left open."""

from __future__ import annotations

import re

from pydantic import model_validator

from gns3_minivm.gns3 import messages

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


class TemplateCreate(messages.TemplateCreate):
    compute_id: messages.ComputeId | None

    @model_validator(mode="after")
    def _names_of_nodes(self) -> TemplateCreate:
        # The server checks this only when a node is made (compute/qemu/qemu_vm.py).
        form = self.default_name_format or "{name}-{0}"
        name = form.replace("{name}", self.name).replace(" ", "").replace("{0}", "1").replace("{id}", "1")
        if not _HOST_NAME.fullmatch(name) or name.rpartition(".")[2].isdigit():
            raise ValueError(
                f"nodes would be called {name!r}, but API v3 takes host names only: letters, digits, hyphens (RFC 1123)"
            )
        return self
