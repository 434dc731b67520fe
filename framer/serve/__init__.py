"""A page that watches a running study: jobs, loss curves, the table so far. It reads files alone and writes none."""
