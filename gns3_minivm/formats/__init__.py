"""Pure writers and readers: tar layers -> file tree -> ext4 -> qcow2, and cpio.

::

    layer.tar ──┐
    layer.tar ──┼─ tar.read_layers ─> tree.FileTree ─ ext4.plan ─> Plan ─ ext4.write ─> sink.BlockSink
    layer.tar ──┘                        │                                                   │
                                         └─ cpio.write_cpio                      qcow2.Qcow2Writer

Everything here is synchronous and depends on its arguments alone: no clock, no randomness, no environment.  The same
layers and options give the same bytes on every machine.
"""
