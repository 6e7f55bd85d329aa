"""gns3-minivm for programs."""
