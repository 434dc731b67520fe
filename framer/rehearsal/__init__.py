"""A rehearsal of a study: one job of every kind at full architecture with random weights, measured on this machine."""
