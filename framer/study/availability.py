"""What of a study cannot be made for want of data or weights."""

from pathlib import Path

SUPPLIED = Path("supplied")
"""Images of other methods, ARM/SET/STEM.png."""
