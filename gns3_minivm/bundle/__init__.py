"""The kernel bundle: kernel image, initramfs, module disk, manifest."""
