"""Data: manifests, fetching, degradation, pairs."""
