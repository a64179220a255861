#!/usr/bin/env bash
# Installs Pedigree on a machine of a cluster or into an image: bash deploy/install.sh EXTRAS, such as cluster,gpu
#
# cluster.yaml, cluster.local.yaml, Dockerfile and slurm.sh all have this done. An environment is made where there is none
# yet (delete ~/pedigree-env to have it made again). It uses the project from where this file lies, so a later copy of
# the code needs no install.
set -euo pipefail
extras="${1:?needs extras, such as cluster}"
project="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
environment="$HOME/pedigree-env"

test -x "$environment/bin/ray" ||
    (python3 -m venv "$environment" && "$environment/bin/pip" install -q -e "$project[$extras]")
grep -qs pedigree-env ~/.bashrc || echo 'export PATH=$HOME/pedigree-env/bin:$PATH' >>~/.bashrc
