"""``python -m gns3_minivm`` is the same as ``gns3-minivm``."""

from gns3_minivm.cli import main

main()
