"""Weight manifests, how weights are fetched, and the store they lie in."""
