"""The command `framer completion`."""

import argparse
from pathlib import Path

from framer.commands.arguments import arg, command, study_path

STUDIES = """
_framer_studies() {
  local file
  local -a names=()
  for file in config/*.yaml; do [ -f "$file" ] && file=${file##*/} && names+=("${file%.yaml}"); done
  compgen -W "${names[*]}" -- "$1"
  _shtab_compgen_files "$1"
}
"""
"""A function of the script for bash: the names of the studies in `config`, then files."""


@command(
    "print a script with which a shell completes commands, options and names of studies",
    arg("shell", choices=["bash", "zsh", "fish"], help="the shell that reads it"),
)
def completion(args: argparse.Namespace) -> None:
    import shtab

    of_files, of_studies = shtab.FILE, shtab.FILE | {"bash": "_framer_studies"}
    (commands,) = (action for action in args.parser._actions if isinstance(action, argparse._SubParsersAction))
    for action in (action for sub in commands.choices.values() for action in sub._actions):
        if action.type in (Path, study_path):
            action.complete = of_studies if action.type is study_path else of_files
    print(shtab.complete(args.parser, args.shell, preamble=STUDIES if args.shell == "bash" else ""))
