"""Exact contributions of LightGBM boosters, looked up in tables that are compiled once."""
