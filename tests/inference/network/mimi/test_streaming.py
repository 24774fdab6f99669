"""Chunked output equals whole output: the test of every streaming layer."""

import dataclasses

import pytest
import torch

from inference.network.mimi import MIMI_7B, MIMI_TINY, Mimi
from tests.inference.network.mimi.examples import (
    SMALL,
    codes_differ,
    lively_codec,
    noise,
)

FRAME = 1920


def encode_in_calls(codec, pcm, sizes):
    state, parts = codec.encoder_state(pcm.shape[0]), []
    for part in pcm.split([FRAME * size for size in sizes], dim=2):
        parts.append(codec.encode_step(part, state))
    return torch.cat(parts, dim=2)


def decode_in_calls(codec, codes, sizes):
    state = codec.decoder_state(codes.shape[0])
    parts = [codec.decode_step(part, state) for part in codes.split(sizes, dim=2)]
    return torch.cat(parts, dim=2)


def assert_calls_equal_whole(codec, pcm, sizes):
    codes = codec.encode(pcm)
    streamed = encode_in_calls(codec, pcm, sizes)
    assert streamed.dtype == torch.int64 and streamed.shape == codes.shape
    assert not codes_differ(codec, codec.encode_latent(pcm), codes, streamed).any()
    whole = codec.decode(codes)
    assert whole.shape == pcm.shape
    assert (decode_in_calls(codec, codes, sizes) - whole).abs().max() < 1e-4


def test_single_frames_equal_the_whole_long_after_the_ring_is_full(codec):
    assert_calls_equal_whole(codec, noise(2, 310), [1] * 310)


def test_single_frames_equal_the_whole_at_the_tiny_size_and_real_context():
    codec = lively_codec(MIMI_TINY)
    assert_calls_equal_whole(codec, noise(1, 300), [1] * 300)


@pytest.mark.parametrize(
    "sizes", [[60], [1, 59], [11, 1, 2, 13, 1, 32], [12] * 5, [3] * 20]
)
def test_any_cut_into_frames_equals_the_whole(codec, sizes):
    assert_calls_equal_whole(codec, noise(1, 60), sizes)


def test_an_odd_context_streams_too():
    codec = lively_codec(dataclasses.replace(SMALL, context=13))
    assert_calls_equal_whole(codec, noise(1, 40), [1] * 20 + [20])


def test_a_ring_of_one_more_would_be_noticed(codec):
    wider = lively_codec(dataclasses.replace(SMALL, context=25))
    codes = codec.encode(noise(1, 40))
    error = (wider.decode(codes) - codec.decode(codes)).abs()
    assert error[..., : FRAME * 11].max() < 1e-6
    assert error[..., FRAME * 11 :].max() > 1e-3


def test_part_of_a_frame_is_refused(codec):
    with pytest.raises(ValueError, match="a multiple of 1920 samples"):
        codec.encode(torch.zeros(1, 1, FRAME + 1))
    with pytest.raises(ValueError, match="a multiple of 1920 samples"):
        codec.encode_step(torch.zeros(2, FRAME), codec.encoder_state(2))


def test_a_step_asks_no_tensor_for_its_value():
    # Tensors on the meta device have no values: a branch on one would raise.
    with torch.device("meta"):
        codec = Mimi(MIMI_7B)
        pcm, active = torch.zeros(3, 1, FRAME), torch.ones(3, dtype=torch.bool)
        codes = codec.encode_step(pcm, codec.encoder_state(3), active)
        decoded = codec.decode_step(codes, codec.decoder_state(3), active)
    assert codes.shape == (3, 8, 1)
    assert decoded.shape == (3, 1, FRAME)


def test_a_step_keeps_every_tensor_of_the_state_in_its_place(codec):
    state = codec.encoder_state(2)
    before = (state.buffer.data_ptr(), state.position.data_ptr())
    codec.encode_step(noise(2, 1), state)
    state.reset([1])
    assert (state.buffer.data_ptr(), state.position.data_ptr()) == before
    assert state.position.tolist() == [2, 0]


@pytest.mark.gpu
def test_a_captured_graph_gives_what_the_whole_gives(codec):
    codec = lively_codec(codec.config).cuda()
    torch.backends.cudnn.allow_tf32 = False
    pcm = noise(2, 40).cuda()
    encoder, decoder = codec.encoder_state(2), codec.decoder_state(2)
    heard = torch.zeros(2, 1, FRAME, device="cuda")
    active = torch.ones(2, dtype=torch.bool, device="cuda")
    with torch.cuda.stream(torch.cuda.Stream()):
        codec.decode_step(codec.encode_step(heard, encoder, active), decoder, active)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        codes = codec.encode_step(heard, encoder, active)
        said = codec.decode_step(codes, decoder, active)
    encoder.reset()
    decoder.reset()
    all_codes, all_said = [], []
    for frame in pcm.split(FRAME, dim=2):
        heard.copy_(frame)
        graph.replay()
        all_codes.append(codes.clone())
        all_said.append(said.clone())
    streamed = torch.cat(all_codes, dim=2)
    latent = codec.encode_latent(pcm)
    assert not codes_differ(codec, latent, codec.encode(pcm), streamed).any()
    error = torch.cat(all_said, dim=2) - codec.decode(streamed)
    assert error.abs().max() < 1e-4
