"""Drawing what was found: plots, and one self-contained HTML page."""
