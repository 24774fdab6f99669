"""The codec at its real size on a GPU: captured, whole, published, and in company."""

import contextlib
import time
from dataclasses import replace
from statistics import median

import torch

from inference.timing import FRAME_SAMPLES
from tests.inference.network.mimi.examples import codes_differ, noise
from tests.inference.network.mimi.test_parity import reference_codec

FRAMES = 320  # its ring is full at call 124
ROWS = 32


def codec(rig, found):
    mimi, device = rig.mimi, rig.device
    frames = FRAMES if rig.on_gpu else 20
    pcm = noise(1, frames).to(device)
    whole = mimi.encode(pcm)
    latent = mimi.encode_latent(pcm)
    codes, said, took = streamed(mimi, pcm, 1, rig.on_gpu)
    found |= {"frames": frames, "ms": {"1": took}}
    wrong = codes_differ(mimi, latent, whole, codes)
    found["captured, whole: codes"] = counted(codes, whole, wrong)
    error = (said - mimi.decode(codes)).abs().max().item()
    found["captured, whole: sound"] = {"values": said.numel(), "error": error}
    many, _, took = streamed(mimi, pcm, ROWS, rig.on_gpu)
    found["ms"][str(ROWS)] = took
    wrong = codes_differ(mimi, latent, codes, many)
    found[f"row 0 of {ROWS}, alone: codes"] = counted(many, codes, wrong)
    if rig.on_gpu:
        torch.backends.cudnn.allow_tf32 = True
        fewer, _, found["ms"]["1, TF32"] = streamed(mimi, pcm, 1, True)
        _, _, found["ms"][f"{ROWS}, TF32"] = streamed(mimi, pcm, ROWS, True)
        torch.backends.cudnn.allow_tf32 = False
        wrong = codes_differ(mimi, latent, codes, fewer)
        found["TF32, fp32: codes"] = counted(fewer, codes, wrong)
        slow = mimi.to("cpu").encode(pcm.cpu()).to(device)
        mimi.to(device)
        wrong = codes_differ(mimi, latent, slow, whole)
        found["GPU, CPU: codes"] = counted(whole, slow, wrong)
    found |= published(rig, pcm)
    for name, each in found.items():
        if isinstance(each, dict) and "values" in each:
            what, _, of = name.partition(":")
            ours, _, theirs = what.partition(", ")
            rig.row("2", f"codec, {frames} frames,{of}: {ours}", theirs, each)


def counted(ours, theirs, unexcused):
    return {
        "values": theirs.numel(),
        "differ": int((ours != theirs).sum()),
        "clear_differ": int(unexcused.sum()),
    }


def streamed(mimi, pcm, rows, captured):
    """Codes [1, 8, F] and sound of the first of ``rows`` streams, frame by frame, and
    the milliseconds of a frame."""
    device = pcm.device
    encoder, decoder = mimi.encoder_state(rows), mimi.decoder_state(rows)
    others = noise(rows, pcm.shape[2] // FRAME_SAMPLES, seed=2).to(device)
    others[0] = pcm[0]
    heard = torch.zeros(rows, 1, FRAME_SAMPLES, device=device)
    active = torch.ones(rows, dtype=torch.bool, device=device)

    def step():
        codes = mimi.encode_step(heard, encoder, active)
        return codes, mimi.decode_step(codes, decoder, active)

    replay = step
    if captured:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept = step()

        def replay():
            graph.replay()
            return kept

    encoder.reset()
    decoder.reset()
    codes, said, times = [], [], []
    for frame in others.split(FRAME_SAMPLES, dim=2):
        began = time.perf_counter()
        heard.copy_(frame)
        now = replay()
        codes.append(now[0][:1].clone())
        said.append(now[1][:1].clone())
        codes[-1].tolist()  # wait
        times.append(1000 * (time.perf_counter() - began))
    return torch.cat(codes, dim=2), torch.cat(said, dim=2), round(median(times), 3)


def published(rig, pcm):
    """The package's codec, eager, one frame a call, beside ours."""
    mimi, device = rig.mimi, rig.device
    used = mimi.config.n_codebooks_used  # an engine has let go of the others
    with device:
        reference = reference_codec(replace(mimi.config, n_codebooks=used)).to(device)
    wanted = reference.state_dict().keys()
    stored = {name: t for name, t in mimi.state_dict().items() if name in wanted}
    reference.load_state_dict(stored, strict=True)
    encoder, decoder = mimi.encoder_state(1), mimi.decoder_state(1)
    ours, theirs, error = [], [], 0.0
    with contextlib.ExitStack() as stack:
        stack.enter_context(reference.streaming(1))
        for frame in pcm.split(FRAME_SAMPLES, dim=2):
            ours.append(mimi.encode_step(frame, encoder))
            theirs.append(reference.encode(frame))
            said = mimi.decode_step(theirs[-1], decoder)
            expected = reference.decode(theirs[-1])
            error = max(error, (said - expected).abs().max().item())
    codes, expected = torch.cat(ours, dim=2), torch.cat(theirs, dim=2)
    wrong = codes_differ(mimi, mimi.encode_latent(pcm), expected, codes)
    sound = {"values": pcm.numel(), "error": error}
    return {
        "ours, published: codes": counted(codes, expected, wrong),
        "ours, published: sound": sound,
    }
