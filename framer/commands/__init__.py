"""The commands of `framer`, one function each: parse, import what it needs, call it.

Nothing heavy is imported before a command runs, so that `framer --help` is instant. What a function imports and what
its decorator declares is what `framer.provenance.code` sees of a command.
"""
