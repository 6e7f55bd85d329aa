"""One async function for each thing that a user can ask for.

Here the building half (images, convert, bundle) meets the server half (agent, gns3), as Artifact values only.  The
command line is one rendering of these functions and of the events they send.
"""
