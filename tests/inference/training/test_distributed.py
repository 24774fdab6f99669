"""Several processes that train as one."""

import os
import socket

import torch
import torch.multiprocessing as multiprocessing

from inference.training.distributed import Ranks


def meet(rank: int, port: int, folder: str) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "RANK": str(rank),
    }
    ranks = Ranks()
    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.full((3,), float(rank))
    ranks.average_gradients([weight])
    apart = torch.full((2, 2), float(rank)), torch.full((3,), 4.0 * rank)
    ranks.average_(apart)
    mine = torch.tensor([[rank, -300]], dtype=torch.int16)
    found = {
        "same": ranks.same(0.25 + rank),
        "agree": ranks.agree(rank == 0),
        "gathered": ranks.gathered(mine),
        "bits": ranks.gathered(torch.tensor([rank == 1])),
        "gradient": weight.grad,
        "averaged": torch.cat([tensor.flatten() for tensor in apart]),
    }
    torch.save(found, f"{folder}/{rank}.pt")
    ranks.close()


def test_two_processes_agree_and_share(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(meet, (port, str(tmp_path)), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found["same"] == 0.25
        assert found["agree"] is True
        assert found["gathered"].tolist() == [[0, -300], [1, -300]]
        assert found["bits"].tolist() == [False, True]
        assert found["gradient"].tolist() == [0.5, 0.5, 0.5]
        assert found["averaged"].tolist() == [0.5] * 4 + [2.0] * 3
