"""The catalogue file: which servers there are, and which appliances each of them should have.

Nothing here talks to a server.  docs/use/catalogue.md describes the file for its users.
"""

from gns3_minivm.catalogue.model import Catalogue, CatalogueAppliance, CatalogueServer
from gns3_minivm.catalogue.read import find_catalogue, read_catalogue

__all__ = ["Catalogue", "CatalogueAppliance", "CatalogueServer", "find_catalogue", "read_catalogue"]
