"""What all commands share: the session, options, progress, and the top-level handler."""
