"""The networks: a registry, what every backbone shares, and one package per backbone."""
