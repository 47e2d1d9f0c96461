"""The ranks of a distributed run: their numbers and their process group, on GPUs (nccl) or without any (gloo)."""

from __future__ import annotations

import datetime
import os
import subprocess
from typing import Any

from ghm_mmdet.errors import UserError

# Launcher: its variables for rank, number of ranks, rank within the node.
RANK_VARIABLES = {
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
}
STARTED_BY = {"pytorch": "tools/dist_train.sh or torchrun", "slurm": "tools/slurm_train.sh or srun", "mpi": "mpirun"}


def read_ranks(launcher: str, local_rank: int) -> None:
    """Puts RANK, WORLD_SIZE and LOCAL_RANK into the environment, in the spelling of torch, whatever the launcher."""
    if launcher in ("none", "pytorch"):
        os.environ.setdefault("LOCAL_RANK", str(local_rank))
    if launcher == "none":
        _check_numbers()
        return
    variables = RANK_VARIABLES[launcher]
    missing = [name for name in variables if name not in os.environ]
    if missing:
        raise UserError(
            f"--launcher {launcher} finds no {', '.join(missing)} in the environment.\n"
            f"Start it through {STARTED_BY[launcher]}, or leave --launcher out for one process."
        )
    for target, source in zip(RANK_VARIABLES["pytorch"], variables):
        os.environ[target] = os.environ[source]
    os.environ.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in os.environ:
        os.environ["MASTER_ADDR"] = _first_host(launcher)
    _check_numbers()


def _check_numbers() -> None:
    """Raises UserError for a number of ranks in the environment that is none."""
    ranks = os.environ.get("WORLD_SIZE", "")
    most = int(ranks) - 1 if ranks.isdecimal() else float("inf")
    for name, least, greatest in (
        ("WORLD_SIZE", 1, float("inf")),
        ("RANK", 0, most),
        ("LOCAL_RANK", 0, most),
        ("MASTER_PORT", 1, 65535),
    ):
        value = os.environ.get(name, str(least))
        if not value.isdecimal() or not least <= int(value) <= greatest:
            upper = f" to {greatest:.0f}" if greatest != float("inf") else " on"
            raise UserError(f"the environment variable {name} is {value!r}, not a whole number from {least}{upper}")


def _first_host(launcher: str) -> str:
    if launcher == "slurm" and "SLURM_NODELIST" in os.environ:
        command = ["scontrol", "show", "hostnames", os.environ["SLURM_NODELIST"]]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            pass
    raise UserError("MASTER_ADDR is not set: give the name of the machine that runs rank 0.")


def start_process_group(cfg: Any) -> None:
    """Starts the process group, before the Runner would, and sets the config up for a run without a GPU.

    mmengine starts its process group with a call into CUDA, but uses one that exists already; and it wraps the model
    for the GPU of the rank unless `model_wrapper_cfg` says otherwise. All ranks wait for each other here, before the
    Runner is built, so that a rank whose preflight failed stops the others before they write anything.
    """
    if cfg.launcher == "none":
        return
    import torch
    from mmengine.device import get_device
    from mmengine.dist import init_dist
    from mmengine.utils.dl_utils import set_multi_processing

    env_cfg = cfg.get("env_cfg", {})
    dist_cfg = env_cfg.get("dist_cfg", {})
    set_multi_processing(**env_cfg.get("mp_cfg", {}), distributed=True)
    if get_device() != "cpu":
        init_dist(cfg.launcher, **dist_cfg)
        return
    timeout = dist_cfg.get("timeout")
    keywords: dict[str, Any] = {} if timeout is None else {"timeout": datetime.timedelta(seconds=timeout)}
    torch.distributed.init_process_group("gloo", **keywords)
    wrapper = dict(cfg.get("model_wrapper_cfg") or {})
    wrapper.setdefault("type", "MMDistributedDataParallel")
    wrapper.setdefault("broadcast_buffers", False)
    wrapper.setdefault("find_unused_parameters", cfg.get("find_unused_parameters", False))
    wrapper["device_ids"] = None
    cfg.model_wrapper_cfg = wrapper


def require_same_data(amounts: dict[str, str] | None) -> None:
    """Raises UserError on all ranks when two machines have other data.

    At the end of an epoch the ranks with more of it would wait for the others, for ever.

    Args:
        amounts: by its place in the config, what each data set holds, in words; None on ranks that have not looked.
    """
    from mmengine.dist import all_gather_object

    first, *others = all_gather_object(amounts)
    for rank, other in enumerate(others, start=1):
        for place, held in (other or first).items():
            if held != first[place]:
                raise UserError(
                    f"{place} holds {held} for rank {rank}, {first[place]} for rank 0\n"
                    "Give all machines the same data, at the same place."
                )


def end_process_group() -> None:
    """Ends the process group after a run that went well, for all ranks together.

    A rank that is done early would close its connections while another is still reading from them, which then fails at
    the very end of its training.
    """
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def is_first_rank_of_node() -> bool:
    return int(os.environ.get("LOCAL_RANK", 0)) == 0
