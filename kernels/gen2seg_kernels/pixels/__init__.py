"""Pictures into the planes that networks take, and planes back into colours; one pass each."""
