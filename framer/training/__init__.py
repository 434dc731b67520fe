"""Training bases and runs, checkpoints, restoring. Knows backbones only through `framer.backbones.base`."""
