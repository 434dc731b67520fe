"""Degradation of HR photographs to LR images: presets, random draws, operations."""
