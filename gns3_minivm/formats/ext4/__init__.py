"""The ext4 file system, written and read without the kernel."""
