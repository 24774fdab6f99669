"""Weights and speech between files and memory, for trainings.

Defines the stored names of both networks and the speech archive's folders.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from inference.network.lm import LanguageModel
from inference.network.mimi import MIMI_TINY, Mimi
from inference.training.corpus.speech_corpus import (
    ShardReader,
    SpeechCorpus,
    read_archive,
)


def load_folders(archives: str, shards: str) -> SpeechCorpus:
    """Speech of folders of archives and of shards, both by commas."""
    corpus = SpeechCorpus()
    for folder in filter(None, archives.split(",")):
        read = read_archive(sorted(Path(folder).glob("speech-*.bin")))
        corpus = corpus.extended(read.entries, read.pcm)
    for folder in filter(None, shards.split(",")):
        corpus = ShardReader(Path(folder)).update(corpus)
    return corpus


def load_codec_file(path: str, device: torch.device) -> Mimi:
    from safetensors.torch import load_file

    codec = Mimi(MIMI_TINY)
    codec.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return codec.to(device).eval().requires_grad_(False)


def save_codec(codec: Mimi, path: Path) -> None:
    """Half precision; what is saved is what everything later is trained on."""
    from safetensors.torch import save_file

    state = {}
    for name, value in codec.state_dict().items():
        # Codebook sums outgrow fp16: their quotient is stored, with a usage of 1.
        state[name] = value.detach().cpu()
    for name in [n for n in state if n.endswith("embedding_sum")]:
        usage = name.replace("embedding_sum", "cluster_usage")
        state[name] = state[name] / state[usage].clamp(min=1e-5)[:, None]
        state[usage] = torch.ones_like(state[usage])
    halves = {k: v.to(torch.float16).contiguous() for k, v in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves, str(path))


def save_lm(model: LanguageModel, folder: Path, shards: int = 3) -> None:
    """bf16, under the stored names, in files small enough to travel."""
    from safetensors.torch import save_file

    from inference.loading.checkpoint import state_to_store

    state = {n: t.to(torch.bfloat16).cpu() for n, t in state_to_store(model).items()}
    names = sorted(state, key=lambda n: -state[n].numel())
    parts: list[dict[str, Tensor]] = [{} for _ in range(shards)]
    for name in names:
        smallest = min(parts, key=lambda part: sum(t.numel() for t in part.values()))
        smallest[name] = state[name].contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(parts):
        save_file(part, str(folder / f"lm-{number}.safetensors"))


@torch.no_grad()
def load_lm(model: LanguageModel, files: list[Path]) -> None:
    """What ``save_lm`` wrote, whatever the number of files."""
    from inference.loading.safetensors_file import TensorFile
    from inference.network.stored import stored_tensors

    stored = {name: t for path in files for name, t in TensorFile(path).all().items()}
    for tensor in stored_tensors(model):
        assert tensor.target is not None
        tensor.target.copy_(stored[tensor.name].reshape(tensor.target.shape))
