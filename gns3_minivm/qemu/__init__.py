"""Runs the guest under the local QEMU."""
