"""Other people's methods: their manifests, the clone of their repository and the environment that they run in."""
