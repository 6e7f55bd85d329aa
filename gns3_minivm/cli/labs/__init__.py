"""The commands of ``gns3-minivm lab``."""
