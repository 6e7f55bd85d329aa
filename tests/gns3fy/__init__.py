"""Tests that need gns3fy-next; tox runs them in an environment of their own (``tox -e gns3fy``)."""
