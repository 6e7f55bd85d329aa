"""Images in files: archives, OCI layouts, and root file systems."""
