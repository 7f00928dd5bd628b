"""A probability: own encoding, candidates chosen out of fold, sigmoid calibration, exact contributions."""
