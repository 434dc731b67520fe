"""Checks of the installation and of a Slurm cluster."""
