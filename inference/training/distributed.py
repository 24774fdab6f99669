"""Several GPUs of one host, or none: the few collective calls that training needs.

Must not depend on models or data.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Ranks:
    """This process among the ranks of a run. With one rank no call communicates."""

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        cuda = torch.cuda.is_available()
        local = int(os.environ.get("LOCAL_RANK", "0"))
        self.device = torch.device("cuda", local) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(self.device)
        if self.count > 1:
            dist.init_process_group("nccl" if cuda else "gloo")

    @property
    def first(self) -> bool:
        return self.rank == 0

    @torch.no_grad()
    def from_first_(self, tensors: Iterable[Tensor]) -> None:
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def agree(self, yes: bool) -> bool:
        """The first rank's answer on every rank, so that all stop at the same step."""
        if self.count == 1:
            return yes
        flag = torch.tensor([float(yes)], device=self.device)
        dist.broadcast(flag, 0)
        return bool(flag.item())

    def same(self, value: float) -> float:
        """The first rank's value."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared.item())

    def gathered(self, x: Tensor) -> Tensor:
        """[n, ...] of every rank, one after the other: [count * n, ...]."""
        if self.count == 1:
            return x
        sent = x.contiguous().view(torch.uint8)  # NCCL knows no 16-bit integers
        parts = [torch.empty_like(sent) for _ in range(self.count)]
        dist.all_gather(parts, sent)
        return torch.cat(parts).view(x.dtype)

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        self.average_(p.grad for p in parameters if p.grad is not None)

    @torch.no_grad()
    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Each becomes the mean of all ranks', by one exchange."""
        if self.count == 1:
            return
        kept = list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in kept])
        dist.all_reduce(flat)
        flat /= self.count
        parts = flat.split([tensor.numel() for tensor in kept])
        for tensor, part in zip(kept, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def close(self) -> None:
        if self.count > 1:
            dist.barrier()
            dist.destroy_process_group()
