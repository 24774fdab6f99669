"""Loading holds one tensor beside the model, however large the file is."""

import json
import subprocess
import sys

import pytest


def measured(folder, size, device, weights=""):
    """In a process of its own: its peak is not the other tests'."""
    words = ["--size", size, "--device", device, "--to", str(folder)]
    words += ["--weights", weights]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.inference.measure_loading", *words],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout.splitlines()[-1])


def test_the_host_holds_little_beside_the_model(tmp_path):
    found = measured(tmp_path, "half-gb", "cpu")
    assert found["stored"] > 700_000_000
    # The codec is read whole, 385 MB; of the language model one tensor.
    assert found["host_over"] < 550_000_000


@pytest.mark.gpu
@pytest.mark.timeout(600)
@pytest.mark.parametrize("weights", ["", "int8"])
def test_a_whole_checkpoint_of_16_gb_fits_the_bounds(tmp_path, weights):
    found = measured(tmp_path, "7b", "cuda", weights)
    assert found["stored"] > 16_742_817_792
    assert found["fits"], found
