"""The few collective operations training needs; each is the identity when there is one process."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn


def start() -> None:
    """Join the group torchrun made, if any; one thread a process, since there is one process a core."""
    torch.set_num_threads(1)
    _take_a_gpu()
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        dist.init_process_group("gloo")


def _take_a_gpu() -> None:
    """Each process of a machine sees one of its GPUs; to be called before CUDA is."""
    local, visible = os.environ.get("LOCAL_RANK"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if local is not None and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[int(local)] if visible else local


def give_up(sentence: str) -> NoReturn:
    """End this process with one sentence; for `ranks.py` in a file, because torchrun would add a page of its own."""
    if "TROUBLE" not in os.environ:
        sys.exit(sentence)
    with open(os.environ["TROUBLE"], "w") as file:
        file.write(sentence + "\n")
    os._exit(0)  # without waiting for ranks that have given up as well


def finish() -> None:
    """Leave the group."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def total(x: Tensor) -> Tensor:
    """Sum over ranks."""
    if not dist.is_initialized():
        return x
    summed = x.detach().to("cpu", copy=True)
    dist.all_reduce(summed)
    return summed.to(x.device)


def any_rank(flag: bool) -> bool:
    """True everywhere if true anywhere."""
    return bool(total(torch.tensor(float(flag))) > 0)


def broadcast(model: nn.Module) -> None:
    """Rank 0's weights to all."""
    if dist.is_initialized():
        for tensor in model.state_dict().values():
            here = tensor.cpu()
            dist.broadcast(here, 0)
            tensor.copy_(here)


def average_gradients(model: nn.Module) -> None:
    """All gradients together, gathered and added up here: half of gloo's time for an all-reduce of 0.2 MB."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients]).cpu()
    everyones = flat.new_empty(dist.get_world_size() * len(flat))
    dist.all_gather_into_tensor(everyones, flat)
    flat = everyones.view(-1, len(flat)).mean(0)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
