"""One GNS3 server in our words: what everything above ``gns3/`` uses, the same for API v2 and v3.

Both APIs have most routes alike, below /v2 and /v3; these stand once, in a module for each subject.  What is abstract
here is what the two do in different ways.
"""

from __future__ import annotations

from abc import abstractmethod

from gns3_minivm.gns3.computes import ComputeRoutes
from gns3_minivm.gns3.links import LinkRoutes
from gns3_minivm.gns3.model import Rights
from gns3_minivm.gns3.templates import TemplateRoutes
from gns3_minivm.gns3.trial import TrialRoutes
from gns3_minivm.gns3.uploads import UploadRoutes


class Server(TemplateRoutes, UploadRoutes, LinkRoutes, TrialRoutes, ComputeRoutes):
    """A connected server; made by ``detect.connect``, to be closed (or used with ``async with``).

    Every method raises ServerError's subclasses, with the server's own words, and UsageError for values that the
    server's API refuses.
    """

    @abstractmethod
    async def rights(self) -> Rights:
        """What the user may do; it asks for things that are refused either way, so nothing is changed."""
