"""The qcow2 disk image format, version 3."""
