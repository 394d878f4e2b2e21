"""The plans of `inkling speedrun`: which stages lead from nothing to a bot, on which machine."""
