"""Other people's worlds, one door each."""
