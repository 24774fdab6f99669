"""Against the published codec, same random weights, past the end of the ring.

The release in requirements-parity.txt keeps the attention ring of the checkpoint's
time, so everything is compared, before and after the ring is full: codes, and sound
sample by sample. (Releases that mended the ring agree with us up to call 123, and
later with a codec of ours whose context is one longer.) Both are streamed one frame
a call, as the product does. A missing package is a failure, not a skip.
"""

import dataclasses
from importlib.metadata import version

import pytest
import torch

from inference.network.mimi import MIMI_TINY
from tests.inference.network.mimi.examples import codes_differ, lively_codec, noise

PINNED = "0.1.0"
SMALL = dataclasses.replace(MIMI_TINY, n_filters=16, dim=128, n_heads=2, ffn=256)


def reference_codec(config):
    """The published classes at our sizes, with the published settings otherwise."""
    assert version("moshi") == PINNED, (
        "run: pip install --no-deps -r requirements-parity.txt"
    )
    from moshi.models import MimiModel, loaders
    from moshi.modules import SEANetDecoder, SEANetEncoder
    from moshi.modules.transformer import ProjectedTransformer
    from moshi.quantization import SplitResidualVectorQuantizer

    seanet = loaders._seanet_kwargs | {
        "n_filters": config.n_filters,
        "dimension": config.dim,
    }
    transformer = loaders._transformer_kwargs | {
        "d_model": config.dim,
        "num_heads": config.n_heads,
        "num_layers": config.n_layers,
        "context": config.context,
        "dim_feedforward": config.ffn,
        "input_dimension": config.dim,
        "output_dimensions": [config.dim],
    }
    quantizer = loaders._quantizer_kwargs | {
        "dimension": config.codebook_dim,
        "n_q": config.n_codebooks,
        "bins": config.bins,
        "input_dimension": config.dim,
        "output_dimension": config.dim,
    }
    model = MimiModel(
        SEANetEncoder(**seanet),
        SEANetDecoder(**seanet),
        SplitResidualVectorQuantizer(**quantizer),
        channels=1,
        sample_rate=config.sample_rate,
        frame_rate=12.5,
        encoder_frame_rate=25.0,
        causal=True,
        resample_method="conv",
        encoder_transformer=ProjectedTransformer(**transformer),
        decoder_transformer=ProjectedTransformer(**transformer),
    )
    model.set_num_codebooks(config.n_codebooks_used)
    return model.eval()


def streamed_by_both(config, frames):
    """Our codec, sound, our codes of it and theirs, and the largest difference between
    the sounds that theirs are decoded to, frame by frame."""
    codec, reference = lively_codec(config, seed=3), reference_codec(config)
    reference.load_state_dict(codec.state_dict(), strict=True)
    encoder, decoder = codec.encoder_state(1), codec.decoder_state(1)
    pcm = noise(1, frames)
    ours, theirs, errors = [], [], []
    with reference.streaming(1):
        for frame in pcm.split(1920, dim=2):
            ours.append(codec.encode_step(frame, encoder))
            theirs.append(reference.encode(frame))
            decoded = codec.decode_step(theirs[-1], decoder)
            errors.append((decoded - reference.decode(theirs[-1])).abs().max().item())
    return codec, pcm, torch.cat(ours, dim=2), torch.cat(theirs, dim=2), errors


@pytest.mark.parametrize(
    ("context", "frames"),
    [(250, 200), (24, 60)],
    ids=["the real context, full at call 124", "a short one, wrapped five times"],
)
def test_codes_and_sound_are_the_published_codecs(context, frames):
    config = dataclasses.replace(SMALL, context=context)
    codec, pcm, codes, expected, errors = streamed_by_both(config, frames)
    assert not codes_differ(codec, codec.encode_latent(pcm), expected, codes).any()
    assert max(errors) < 1e-4
