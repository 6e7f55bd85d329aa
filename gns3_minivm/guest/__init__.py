"""The contract with the guest: its command line, its payload, its settings, and commands run in it."""
