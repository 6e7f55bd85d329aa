"""gns3-minivm: Docker and OCI images as small QEMU machines on GNS3 servers."""

__version__ = "0.1.0"
