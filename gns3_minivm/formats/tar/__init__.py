"""Image layers: tar archives merged into one file tree, and a deterministic tar writer.

Formats read: v7, ustar, pax (POSIX.1-2001), GNU (long names, base-256 numbers, sparse), star.  Merging follows the OCI
image specification, layer.md ("Representing Changes", "Applying Changesets"), with containerd's reading of it.

https://github.com/opencontainers/image-spec/blob/main/layer.md
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from gns3_minivm.formats.tar.layers import LayerFile, read_layers
from gns3_minivm.formats.tar.writer import write_tar

__all__ = ["LayerFile", "read_layers", "write_tar"]
