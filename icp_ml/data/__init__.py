"""What was true when: table contracts and rejects, windows, labels, features, datasets and splits."""
