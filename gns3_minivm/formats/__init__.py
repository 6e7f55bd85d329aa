"""Pure writers and readers: tar layers -> file tree -> ext4 -> qcow2, and cpio."""
