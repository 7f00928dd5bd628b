"""Doing it for the whole base, again and again: training, scoring, bundles, retraining."""
