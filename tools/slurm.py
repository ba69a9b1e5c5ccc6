"""The metrics of a profile on a SLURM cluster, into a folder that all its machines share. Interrupted, it goes on.

python tools/slurm.py PROFILE WORKERS     after pip install dask-jobqueue, with $PNPKIT_DATA on the shared disk

Another scheduler is another class of dask_jobqueue (PBSCluster, SGECluster, …) and nothing else; on machines without
one, start ``dask scheduler`` and ``dask worker --nthreads 1`` there and run ``pnpkit metrics --scheduler tcp://…``.
"""

import sys

from dask_jobqueue import SLURMCluster  # type: ignore[attr-defined]
from distributed import Client

from pnpkit.experiment.workspace import Workspace


def main(profile: str, workers: int) -> None:
    """One job a worker, one core a job; with a queue or an account to name, add ``queue=…``, ``account=…``."""
    workspace = Workspace.open(profile)
    with SLURMCluster(cores=1, processes=1, memory="4GB", walltime="01:00:00") as cluster:
        cluster.scale(workers)
        with Client(cluster) as client:
            metrics = workspace.compute_metrics(executor=client.get_executor())
    print(f"{len(metrics.theta)} metrics at {workspace.metrics_path}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
