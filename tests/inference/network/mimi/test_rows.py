"""Streams of one batch don't notice each other joining, pausing and leaving."""

import pytest
import torch

from tests.inference.network.mimi.examples import codes_differ, noise

FRAME = 1920


@pytest.mark.parametrize("as_mask", [False, True])
def test_a_reset_row_starts_again_and_the_others_continue(codec, as_mask):
    pcm = noise(3, 50)
    encoder, decoder = codec.encoder_state(3), codec.decoder_state(3)
    rows = torch.tensor([False, True, False]) if as_mask else [1]
    codes, said = [], []
    for i, frame in enumerate(pcm.split(FRAME, dim=2)):
        if i == 17:  # past the ring's end
            encoder.reset(rows)
            decoder.reset(rows)
        codes.append(codec.encode_step(frame, encoder))
        said.append(codec.decode_step(codes[-1], decoder))
    together = torch.cat(codes, dim=2), torch.cat(said, dim=2)
    for row in (0, 2):
        assert_equals_alone(codec, pcm, together, row, slice(0, 50))
    assert_equals_alone(codec, pcm, together, 1, slice(0, 17))
    assert_equals_alone(codec, pcm, together, 1, slice(17, 50))


def assert_equals_alone(codec, pcm, together, row, frames):
    codes, said = (part[row : row + 1] for part in together)
    codes = codes[..., frames]
    samples = slice(frames.start * FRAME, frames.stop * FRAME)
    alone = pcm[row : row + 1, :, samples]
    latent = codec.encode_latent(alone)
    assert not codes_differ(codec, latent, codec.encode(alone), codes).any()
    assert (codec.decode(codes) - said[..., samples]).abs().max() < 1e-4


def test_inactive_rows_keep_their_state_to_the_bit(codec):
    encoder, decoder = codec.encoder_state(2), codec.decoder_state(2)
    for frame in noise(2, 15).split(FRAME, dim=2):
        codec.decode_step(codec.encode_step(frame, encoder), decoder)
    before = [t.clone() for s in (encoder, decoder) for t in (s.buffer, s.position)]
    active = torch.tensor([False, True])
    # What an inactive row is given must not matter, not even if it is broken.
    frame = noise(2, 1, seed=5)
    frame[0] = torch.nan
    codec.encode_step(frame, encoder, active)
    codec.decode_step(torch.zeros(2, 8, 1, dtype=torch.int64), decoder, active)
    after = [t for s in (encoder, decoder) for t in (s.buffer, s.position)]
    for was, now in zip(before, after, strict=True):
        assert torch.equal(was[0], now[0])
        assert not torch.equal(was[1], now[1])


def test_rows_at_their_own_pace_get_what_they_get_alone(codec):
    pcm = noise(3, 40)
    encoder, decoder = codec.encoder_state(3), codec.decoder_state(3)
    generator = torch.Generator().manual_seed(2)
    at = [0, 0, 0]
    codes, said = [[], [], []], [[], [], []]
    while min(at) < 40:
        active = torch.rand(3, generator=generator) < torch.tensor([0.9, 0.5, 0.3])
        active &= torch.tensor(at) < 40
        frame = torch.stack(
            [pcm[row, :, min(n, 39) * FRAME :][:, :FRAME] for row, n in enumerate(at)]
        )
        new_codes = codec.encode_step(frame, encoder, active)
        new_said = codec.decode_step(new_codes, decoder, active)
        for row in active.nonzero().flatten().tolist():
            at[row] += 1
            codes[row].append(new_codes[row : row + 1])
            said[row].append(new_said[row : row + 1])
    for row in range(3):
        together = torch.cat(codes[row], dim=2), torch.cat(said[row], dim=2)
        alone = pcm[row : row + 1]
        assert_equals_alone(codec, alone, together, 0, slice(0, 40))


def test_inactive_rows_of_a_longer_call_keep_their_state(codec):
    state = codec.encoder_state(2)
    pcm = noise(2, 30)
    codec.encode_step(pcm[..., : 14 * FRAME], state)
    before = state.buffer.clone()
    rest = pcm[..., 14 * FRAME :]
    codes = codec.encode_step(rest, state, torch.tensor([True, False]))
    assert torch.equal(state.buffer[1], before[1])
    assert state.position.tolist() == [60, 28]
    wrong = codes_differ(
        codec,
        codec.encode_latent(pcm)[:1, :, 14:],
        codec.encode(pcm)[:1, :, 14:],
        codes[:1],
    )
    assert not wrong.any()


def test_a_reset_forgets_a_stream_that_broke(codec):
    state = codec.encoder_state(2)
    codec.encode_step(torch.full((2, 1, FRAME), torch.nan), state)
    state.reset(torch.tensor([True, True]))
    assert torch.isfinite(state.buffer).all()
    pcm = noise(2, 2)
    codes = codec.encode_step(pcm, state)
    latent = codec.encode_latent(pcm)
    assert not codes_differ(codec, latent, codec.encode(pcm), codes).any()


def test_a_reset_without_rows_is_for_all_and_of_no_rows_for_none(codec):
    state = codec.encoder_state(2)
    codec.encode_step(noise(2, 1), state)
    before = state.buffer.clone()
    state.reset([])
    assert torch.equal(state.buffer, before)
    state.reset()
    assert not state.buffer.any() and not state.position.any()
