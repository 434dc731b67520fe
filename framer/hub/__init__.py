"""Remote files: their addresses, and downloads that resume, retry and verify."""
