"""Why, and who is ideal: traits, segments and reasons whose claims hold."""
