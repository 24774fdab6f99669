"""Nearest vectors, residual chains, and the codebooks that are not used."""

import torch

from inference.network.mimi.quantizer import Codebook
from tests.inference.network.mimi.examples import noise


def filled_codebook(vectors, usage):
    codebook = Codebook(*vectors.shape)
    codebook.embedding_sum.copy_(vectors * usage[:, None])
    codebook.cluster_usage.copy_(usage)
    codebook.refresh()
    return codebook


def test_a_tie_takes_the_lowest_index():
    vectors = torch.tensor([[9.0, 9.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    codebook = filled_codebook(vectors, torch.ones(4))
    assert codebook.encode(torch.tensor([[1.0, 0.0], [0.0, 3.0]])).tolist() == [1, 1]


def test_a_vector_is_the_sum_over_the_usage_but_never_over_nothing():
    codebook = Codebook(2, 2)
    codebook.embedding_sum.copy_(torch.tensor([[2.0, 4.0], [1e-5, 0.0]]))
    codebook.cluster_usage.copy_(torch.tensor([2.0, 0.0]))
    codebook.refresh()
    assert codebook.decode(torch.tensor([0, 1])).tolist() == [[1.0, 2.0], [1.0, 0.0]]


def test_loading_a_state_dict_recomputes_the_vectors():
    trained = filled_codebook(torch.randn(8, 4), torch.full((8,), 3.0))
    with torch.device("meta"):
        codebook = Codebook(8, 4)
    codebook.load_state_dict(trained.state_dict(), strict=True, assign=True)
    assert torch.equal(codebook.vectors, trained.vectors)
    assert set(trained.state_dict()) == {
        "embedding_sum",
        "cluster_usage",
        "_initialized",
    }


def test_codes_are_the_nearest_of_what_the_earlier_left(codec):
    latent = codec.encode_latent(noise(2, 5))
    codes = codec.encode(noise(2, 5))
    first, rest = codec.quantizer.rvq_first, codec.quantizer.rvq_rest
    for chain, part in ((first, codes[:, :1]), (rest, codes[:, 1:])):
        residual = chain.input_proj(latent).transpose(1, 2)
        for k, codebook in enumerate(chain.codebooks):
            offsets = residual[:, :, None] - codebook.vectors
            nearest = offsets.norm(dim=-1).argmin(dim=-1)
            assert torch.equal(part[:, k], nearest)
            residual = residual - codebook.vectors[nearest]


def test_decoding_adds_what_both_chains_say(codec):
    codes = torch.randint(64, (2, 8, 3), generator=torch.Generator().manual_seed(0))
    first, rest = codec.quantizer.rvq_first, codec.quantizer.rvq_rest
    vectors = [c.vectors[codes[:, 1 + k]] for k, c in enumerate(rest.codebooks)]
    semantic = first.codebooks[0].vectors[codes[:, 0]]
    expected = first.output_proj(semantic.transpose(1, 2))
    expected = expected + rest.output_proj(sum(vectors).transpose(1, 2))
    assert torch.allclose(codec.quantizer.decode(codes), expected, atol=1e-6)
