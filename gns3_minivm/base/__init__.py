"""What every part uses: errors, events, artifacts, the cache, cancelling, locks, and running programs."""
