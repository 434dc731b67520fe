"""Analyses of trained models: arrays for figures, and the measured cost of training."""
