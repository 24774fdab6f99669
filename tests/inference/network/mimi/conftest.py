"""A small codec whose ring is full after twelve frames."""

import dataclasses

import pytest
import torch

from tests.inference.network.mimi.examples import SMALL, lively_codec


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    # Layers this small gain nothing from a second one, and lose much by waiting
    # for it on a busy machine.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def codec():
    return lively_codec(dataclasses.replace(SMALL, context=24))
