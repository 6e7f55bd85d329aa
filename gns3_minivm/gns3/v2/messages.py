"""What API v2 expects differently: a compute must be named at creation."""

from __future__ import annotations

from gns3_minivm.gns3 import messages


class TemplateCreate(messages.TemplateCreate):
    compute_id: messages.ComputeId
    """With null, no node can be made from the template."""
