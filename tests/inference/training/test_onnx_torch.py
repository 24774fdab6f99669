"""ONNX's operators in torch, each against what the standard says of it."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from inference.training.tts.onnx_torch import GRAPH, WEIGHTS, OnnxGraph


def run(folder, nodes, outputs, weights, **inputs):
    graph = {"outputs": outputs, "nodes": nodes}
    (folder / GRAPH).write_text(json.dumps(graph))
    np.savez(folder / WEIGHTS, **weights)
    graph = OnnxGraph(folder, torch.device("cpu"))
    return graph(**{name: torch.as_tensor(value) for name, value in inputs.items()})


def test_a_quantised_layer_is_the_layer_without_its_rounding(tmp_path):
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(6, 5)).astype(np.float32)
    scale = np.float32(np.abs(weight).max() / 100)
    stored = (np.round(weight / scale) + 120).clip(0, 255).astype(np.uint8)
    x = rng.normal(size=(2, 3, 6)).astype(np.float32)
    nodes = [
        ["DynamicQuantizeLinear", ["x"], ["q", "s", "z"], {}],
        ["MatMulInteger", ["q", "w", "z", "wz"], ["i"], {}],
        ["Cast", ["i"], ["f"], {"to": 1}],
        ["Mul", ["s", "ws"], ["both"], {}],
        ["Mul", ["f", "both"], ["y"], {}],
    ]
    weights = {"w": stored, "wz": np.uint8(120), "ws": scale}
    (found,) = run(tmp_path, nodes, ["y"], weights, x=x)
    wanted = x @ ((stored.astype(np.float32) - 120) * scale)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_a_quantised_convolution_has_a_zero_point_per_channel(tmp_path):
    rng = np.random.default_rng(2)
    stored = rng.integers(0, 255, (4, 3, 5)).astype(np.uint8)
    zero = rng.integers(90, 150, 4).astype(np.uint8)
    x = rng.normal(size=(1, 3, 20)).astype(np.float32)
    settings = {"pads": [4, 4], "strides": [2], "dilations": [2], "group": 1}
    nodes = [
        ["DynamicQuantizeLinear", ["x"], ["q", "s", "z"], {}],
        ["ConvInteger", ["q", "w", "z", "wz"], ["y"], settings],
    ]
    (found,) = run(tmp_path, nodes, ["y"], {"w": stored, "wz": zero}, x=x)
    weight = torch.from_numpy(stored).float() - torch.from_numpy(zero)[:, None, None]
    wanted = nn.functional.conv1d(torch.from_numpy(x), weight, None, 2, 4, 2)
    torch.testing.assert_close(found, wanted)


def test_a_quantised_lstm_is_torchs_with_the_gates_in_another_order(tmp_path):
    torch.manual_seed(3)
    size, hidden = 6, 4
    lstm = nn.LSTM(size, hidden, bidirectional=True)
    scale = np.float32(0.01)

    def gates(x):  # input, forget, cell, output to input, output, forget, cell
        parts = x.unflatten(0, (4, hidden))
        return torch.cat([parts[0], parts[3], parts[1], parts[2]])

    stored = {}
    with torch.no_grad():
        for name, short in (("weight_ih", "w"), ("weight_hh", "r")):
            sides = []
            for suffix in ("_l0", "_l0_reverse"):
                weight = getattr(lstm, name + suffix)
                weight.copy_((weight / 0.01).round() * 0.01)
                sides.append(gates(weight / 0.01).round().mT)
            stored[short] = torch.stack(sides).numpy().astype(np.int8)
        stored["b"] = torch.stack(
            [
                torch.cat([gates(getattr(lstm, f"bias_{k}{s}")) for k in ("ih", "hh")])
                for s in ("_l0", "_l0_reverse")
            ]
        ).numpy()
        stored["s"] = np.full(2, scale)
        stored["z"] = np.zeros(2, np.int8)
        x = torch.randn(7, 1, size)
        names = ["x", "w", "r", "b", "", "", "", "", "s", "z", "s", "z"]
        node = ["DynamicQuantizeLSTM", names, ["y"], {"hidden_size": hidden}]
        (found,) = run(tmp_path, [node], ["y"], stored, x=x)
        wanted, _ = lstm(x)
    assert found.shape == (7, 2, 1, hidden)
    torch.testing.assert_close(
        found.permute(0, 2, 1, 3).flatten(2), wanted, rtol=1e-4, atol=1e-5
    )


def test_shapes_are_worked_out_and_used(tmp_path):
    nodes = [
        ["Shape", ["x"], ["shape"], {"start": 0}],
        ["Gather", ["shape", "one"], ["width"], {"axis": 0}],
        ["Div", ["width", "two"], ["half"], {}],
        ["Unsqueeze", ["half", "first"], ["halves"], {}],
        ["Concat", ["minus", "halves"], ["wanted"], {"axis": 0}],
        ["Reshape", ["x", "wanted"], ["y"], {"allowzero": 0}],
        ["Slice", ["y", "first", "halves", "first", "two_"], ["z"], {}],
    ]
    weights = {
        "one": np.int64(1),
        "two": np.int64(2),
        "first": np.array([0]),
        "minus": np.array([-1]),
        "two_": np.array([2]),
    }
    x = torch.arange(12.0).view(2, 6)
    y, z = run(tmp_path, nodes, ["y", "z"], weights, x=x)
    assert torch.equal(y, x.view(4, 3))
    assert torch.equal(z, x.view(4, 3)[0:3:2])


def test_a_spectrum_an_angle_of_nothing_and_a_stretch(tmp_path):
    sound = torch.sin(torch.arange(80.0))[None]
    window = np.hanning(20).astype(np.float32)
    settings = {"mode": "linear"}
    nodes = [
        ["STFT", ["x", "step", "window", "size"], ["spectrum"], {"onesided": 1}],
        ["Div", ["zero", "zero"], ["nothing"], {}],
        ["Atan", ["nothing"], ["angle"], {}],
        ["Unsqueeze", ["x", "axis"], ["wide"], {}],
        ["Resize", ["wide", "", "scales"], ["long"], settings],
    ]
    weights = {
        "step": np.int64(5),
        "size": np.int64(20),
        "window": window,
        "zero": np.zeros(3, np.float32),
        "axis": np.array([1]),
        "scales": np.array([1, 1, 3], np.float32),
    }
    spectrum, angle, long = run(
        tmp_path, nodes, ["spectrum", "angle", "long"], weights, x=sound
    )
    frames = sound.unfold(1, 20, 5) * torch.from_numpy(window)
    torch.testing.assert_close(torch.view_as_complex(spectrum), torch.fft.rfft(frames))
    assert torch.equal(angle, torch.zeros(3))
    assert long.shape == (1, 1, 240)
    torch.testing.assert_close(long[..., 1::3], sound[None])  # centres stay centres


def test_an_operator_that_is_not_known_is_named(tmp_path):
    with pytest.raises(AttributeError, match="Loop"):
        run(tmp_path, [["Loop", ["x"], ["y"], {}]], ["y"], {}, x=torch.zeros(1))
