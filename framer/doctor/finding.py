"""What one check of `framer doctor` found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    verdict: str
    """`ok`, `WRONG`, or `n/a` where something it needs is not here."""
    detail: str

    @property
    def wrong(self) -> bool:
        """Whether something is amiss."""
        return self.verdict == "WRONG"

    def __str__(self) -> str:
        return f"{self.verdict:<6}{self.check}: {self.detail}"
