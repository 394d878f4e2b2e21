"""Model → people: chat in the terminal, and over HTTP."""
