"""Labs: a YAML file that becomes a running topology on a GNS3 server.

``model`` and ``read`` are the file, and talk to no server.  docs/use/labs.md describes it for its users.
"""
