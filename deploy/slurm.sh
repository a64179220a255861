#!/usr/bin/env bash
# A search on the nodes of a Slurm job. Once, on a login node: bash deploy/install.sh cluster (GPUs: cluster,gpu). Then:
#
#   sbatch --nodes 4 --time 1:00:00 deploy/slurm.sh DATA --time-budget 50m --runs-dir ~/runs
#   sbatch --nodes 4 --gpus-per-node 2 deploy/slurm.sh DATA --gpus-per-trial 1 --runs-dir ~/runs
#
# The home folder has to be one on all nodes; DATA and the runs need to be on the first alone.
#SBATCH --job-name=pedigree --nodes=2 --ntasks-per-node=1 --cpus-per-task=8
set -euo pipefail
# The token of Ray, which every node reads from the home folder, keeps other users of the nodes out.
export PATH="$HOME/pedigree-env/bin:$PATH" RAY_AUTH_MODE=token RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
# Every node's own disk: a home that all share is slow for caches, and may have no locks.
export PEDIGREE_CACHE="${PEDIGREE_CACHE:-/tmp/pedigree-$UID}"
ray get-auth-token --generate >/dev/null
# Jobs that share a node have ports of their own.
address="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):$((20000 + SLURM_JOB_ID % 10000))"
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 ray symmetric-run \
    --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus "$SLURM_CPUS_PER_TASK" \
    -- pedigree search "$@" --address "$address"
