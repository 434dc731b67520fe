"""Where every result comes from: hashes, cards, atomic files, locks and code fingerprints."""
