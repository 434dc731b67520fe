"""Networks of other architectures that restore in one pass, from published files of weights."""
