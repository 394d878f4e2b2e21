"""Model → people: chat in the terminal."""
