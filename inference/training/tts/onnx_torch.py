"""Runs an ONNX graph with torch, on a GPU: what the packaged runtime can't do there.

Implements the operators that Kokoro's graph has. A value that only shapes depend on
stays on the CPU, so that the GPU is rarely asked for a number. Quantised layers are
computed in floating point: their weights are widened once, activations are not
quantised at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRAPH, WEIGHTS = "graph.json", "weights.npz"
# ONNX's numbers for element types.
TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool}
LSTM_GATES = (0, 2, 3, 1)  # ONNX has input, output, forget, cell
Value = Tensor | None
Operator = Callable[..., Any]


@dataclass(frozen=True)
class Node:
    kind: str
    inputs: list[str]
    outputs: list[str]
    settings: dict[str, Any]


def convert(model: Any, outputs: list[str], out: Path) -> None:
    """A loaded ONNX model as a list of nodes and one file of arrays."""
    import onnx
    from onnx import helper, numpy_helper

    graph = model.graph
    nodes = []
    for node in graph.node:
        settings = {}
        for attribute in node.attribute:
            value = helper.get_attribute_value(attribute)
            if isinstance(value, onnx.TensorProto):
                value = numpy_helper.to_array(value).tolist()
            elif isinstance(value, bytes):
                value = value.decode()
            settings[attribute.name] = (
                list(value) if not isinstance(value, (str, int, float)) else value
            )
        nodes.append([node.op_type, list(node.input), list(node.output), settings])
    described = {"outputs": outputs, "nodes": nodes}
    (out / GRAPH).write_text(json.dumps(described))
    arrays: dict[str, Any] = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
    }
    np.savez(out / WEIGHTS, **arrays)


class OnnxGraph:
    """Call it with the graph's inputs by name; gives its outputs in order."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        graph = json.loads((folder / GRAPH).read_text())
        self.device = device
        self.outputs: list[str] = graph["outputs"]
        self.nodes = [Node(*node) for node in graph["nodes"]]
        self.constants: dict[str, Value] = {"": None}
        with np.load(folder / WEIGHTS) as arrays:
            for name in arrays:
                self.constants[name] = self._placed(torch.from_numpy(arrays[name]))
        self._widen()
        last = {n: i for i, node in enumerate(self.nodes) for n in node.inputs}
        kept = {*self.outputs, *self.constants}
        self.dropped = [
            [n for n in {*node.inputs} if n not in kept and last[n] == i]
            for i, node in enumerate(self.nodes)
        ]
        self.operators = [self._operator(node) for node in self.nodes]

    def _placed(self, value: Tensor) -> Tensor:
        if value.dtype == torch.float16:
            value = value.float()
        return value if _stays(value) else value.to(self.device)

    def _widen(self) -> None:
        """Quantised weights as floats, once; their scales are applied by the graph."""
        for node in self.nodes:
            if node.kind == "Resize":
                scales = self.constants[node.inputs[2]]
                assert scales is not None
                self.constants[node.inputs[2]] = scales.cpu()
            if node.kind in ("MatMulInteger", "ConvInteger"):
                weight, zero = node.inputs[1], node.inputs[3]
                known = self.constants[weight]
                if known is None or known.is_floating_point():
                    continue
                wide, off = known.float(), self.constants[zero]
                if off is not None:
                    off = _on(off, wide).float()
                    if off.numel() > 1 and node.kind == "ConvInteger":
                        off = off.reshape(-1, *[1] * (wide.dim() - 1))
                    wide = wide - off
                self.constants[weight] = wide

    def _operator(self, node: Node) -> Operator:
        if node.kind == "DynamicQuantizeLSTM":
            return self._lstm(node)
        made: Operator = getattr(Operators, node.kind)
        return made

    @torch.inference_mode()
    def __call__(self, **inputs: Tensor) -> list[Tensor]:
        values = dict(self.constants)
        for name, value in inputs.items():
            values[name] = value.to(self.device)
        for node, operator, dropped in zip(
            self.nodes, self.operators, self.dropped, strict=True
        ):
            given = [values[name] for name in node.inputs]
            found = operator(*given, **node.settings)
            if not isinstance(found, tuple):
                found = (found,)
            for name, value in zip(node.outputs, found, strict=False):
                values[name] = value
            for name in dropped:
                values.pop(name, None)
        results = []
        for name in self.outputs:
            result = values[name]
            assert result is not None
            results.append(result)
        return results

    def _lstm(self, node: Node) -> Operator:
        def weight(index: int, scale: int, zero: int) -> Tensor:
            packed = self.constants[node.inputs[index]]  # [2, n, 4 * hidden]
            by, off = (
                self.constants[node.inputs[scale]],
                self.constants[node.inputs[zero]],
            )
            assert packed is not None and by is not None and off is not None
            parts = by.reshape(2, 1, -1), off.reshape(2, 1, -1)
            return Operators.DequantizeLinear(packed, *parts).mT

        hidden = node.settings["hidden_size"]
        layers = weight(1, 8, 9), weight(2, 10, 11)
        bias = self.constants[node.inputs[3]]
        assert bias is not None
        lstm = nn.LSTM(layers[0].shape[-1], hidden, bidirectional=True)
        lstm.to(self.device).requires_grad_(False)

        def reordered(x: Tensor) -> Tensor:
            parts = x.unflatten(0, (4, hidden))
            return torch.cat([parts[i] for i in LSTM_GATES])

        for side, suffix in enumerate(("", "_reverse")):
            parts = bias[side].to(self.device).chunk(2)
            for name, value in (
                ("weight_ih", layers[0][side]),
                ("weight_hh", layers[1][side]),
                ("bias_ih", parts[0]),
                ("bias_hh", parts[1]),
            ):
                getattr(lstm, f"{name}_l0{suffix}").copy_(reordered(value))
        lstm.flatten_parameters()

        def run(x: Tensor, *_: Value, **__: Any) -> Tensor:
            found, _state = lstm(x)
            steps, batch, _ = found.shape
            return found.view(steps, batch, 2, hidden).permute(0, 2, 1, 3)

        return run


def _stays(value: Tensor) -> bool:
    """Numbers and shapes are of use on the CPU."""
    whole = value.dtype in (torch.int64, torch.int32) and value.numel() <= 16
    return whole or (value.dim() == 0 and value.is_floating_point())


def _on(x: Tensor, like: Tensor) -> Tensor:
    return x if x.device == like.device else x.to(like.device)


def _together(*values: Tensor) -> tuple[Tensor, ...]:
    """All on the GPU, if one is; numbers may stay."""
    where = next((x for x in values if x.is_cuda), None)
    if where is None:
        return values
    return tuple(x if x.dim() == 0 else _on(x, where) for x in values)


def _whole(x: Tensor) -> list[int]:
    numbers: list[int] = x.reshape(-1).tolist()
    return numbers


def _binary(operation: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def run(a: Tensor, b: Tensor) -> Tensor:
        return operation(*_together(a, b))

    return run


def _divide(a: Tensor, b: Tensor) -> Tensor:
    if a.is_floating_point():
        return a / b
    return torch.div(a, b, rounding_mode="trunc")


class Operators:
    """By ONNX's names."""

    Add = staticmethod(_binary(torch.add))
    Sub = staticmethod(_binary(torch.sub))
    Mul = staticmethod(_binary(torch.mul))
    Div = staticmethod(_binary(_divide))
    Pow = staticmethod(_binary(torch.pow))
    Equal = staticmethod(_binary(torch.eq))
    Greater = staticmethod(_binary(torch.gt))
    Less = staticmethod(_binary(torch.lt))
    GreaterOrEqual = staticmethod(_binary(torch.ge))
    And = staticmethod(_binary(torch.logical_and))
    MatMul = staticmethod(_binary(torch.matmul))
    Sqrt = staticmethod(torch.sqrt)
    Floor = staticmethod(torch.floor)
    Round = staticmethod(torch.round)
    Sin = staticmethod(torch.sin)
    Cos = staticmethod(torch.cos)
    Exp = staticmethod(torch.exp)
    Tanh = staticmethod(torch.tanh)
    Sigmoid = staticmethod(torch.sigmoid)

    @staticmethod
    def Atan(x: Tensor) -> Tensor:
        """Of 0 / 0, the angle of nothing, it is 0."""
        return torch.where(x.isnan(), 0.0, x).atan()

    @staticmethod
    def Shape(x: Tensor, start: int = 0) -> Tensor:
        return torch.tensor(x.shape[start:])

    @staticmethod
    def Cast(x: Tensor, to: int, saturate: int = 1) -> Tensor:
        return x.to(TYPES[to])

    @staticmethod
    def Gather(x: Tensor, index: Tensor, axis: int = 0) -> Tensor:
        if index.device.type == "cpu" and index.dim() == 0:
            return x.select(axis, int(index))
        index = _on(index, x).long()
        axis %= x.dim()
        flat = x.index_select(axis, index.reshape(-1))
        return flat.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])

    @staticmethod
    def Split(x: Tensor, sizes: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
        return tuple(x.split(_whole(sizes), axis))

    @staticmethod
    def DequantizeLinear(x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        return (x.float() - _on(zero, x).float()) * _on(scale, x)

    @staticmethod
    def DynamicQuantizeLinear(x: Tensor) -> tuple[Tensor, Tensor, None]:
        return x, torch.ones((), device=x.device), None

    @staticmethod
    def MatMulInteger(x: Tensor, w: Tensor, *_: Value) -> Tensor:
        return x.float() @ w.float()

    @staticmethod
    def ConvInteger(x: Tensor, w: Tensor, *_: Value, **settings: Any) -> Tensor:
        return Operators.Conv(x, w, **settings)

    @staticmethod
    def Conv(x: Tensor, w: Tensor, bias: Value = None, **settings: Any) -> Tensor:
        pads = settings["pads"]
        if pads[0] != pads[1]:
            x, pads = F.pad(x, pads), [0, 0]
        return F.conv1d(
            x,
            w,
            bias,
            settings["strides"],
            pads[:1],
            settings["dilations"],
            settings["group"],
        )

    @staticmethod
    def ConvTranspose(
        x: Tensor, w: Tensor, bias: Value = None, **settings: Any
    ) -> Tensor:
        return F.conv_transpose1d(
            x,
            w,
            bias,
            settings["strides"],
            settings["pads"][:1],
            settings.get("output_padding", [0]),
            settings["group"],
            settings["dilations"],
        )

    @staticmethod
    def Unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
        for axis in sorted(_whole(axes)):
            x = x.unsqueeze(axis)
        return x

    @staticmethod
    def Squeeze(x: Tensor, axes: Tensor) -> Tensor:
        return x.squeeze(_whole(axes))

    @staticmethod
    def Transpose(x: Tensor, perm: list[int]) -> Tensor:
        return x.permute(perm)

    @staticmethod
    def Concat(*parts: Tensor, axis: int) -> Tensor:
        return torch.cat(_together(*parts), axis)

    @staticmethod
    def Slice(
        x: Tensor, starts: Tensor, ends: Tensor, axes: Value = None, steps: Value = None
    ) -> Tensor:
        first, last = _whole(starts), _whole(ends)
        along = list(range(len(first))) if axes is None else _whole(axes)
        by = [1] * len(first) if steps is None else _whole(steps)
        where = [slice(None)] * x.dim()
        for axis, a, b, step in zip(along, first, last, by, strict=True):
            where[axis] = slice(a, b, step)
        return x[tuple(where)]

    @staticmethod
    def ConstantOfShape(shape: Tensor, value: list[Any]) -> Tensor:
        return torch.full(_whole(shape), value[0])

    @staticmethod
    def Where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        condition, a, b = _together(condition, a, b)
        return torch.where(condition, a, b)

    @staticmethod
    def Expand(x: Tensor, shape: Tensor) -> Tensor:
        return x.expand(torch.broadcast_shapes(x.shape, tuple(_whole(shape))))

    @staticmethod
    def Reshape(x: Tensor, shape: Tensor, allowzero: int = 0) -> Tensor:
        wanted = _whole(shape)
        if not allowzero:
            wanted = [n or x.shape[i] for i, n in enumerate(wanted)]
        return x.reshape(wanted)

    @staticmethod
    def LayerNormalization(
        x: Tensor, scale: Tensor, bias: Value = None, **settings: Any
    ) -> Tensor:
        return F.layer_norm(x, scale.shape, scale, bias, settings["epsilon"])

    @staticmethod
    def SkipLayerNormalization(
        x: Tensor, skip: Tensor, scale: Tensor, bias: Tensor, epsilon: float
    ) -> Tensor:
        return F.layer_norm(x + skip, scale.shape, scale, bias, epsilon)

    @staticmethod
    def LeakyRelu(x: Tensor, alpha: float) -> Tensor:
        return F.leaky_relu(x, alpha)

    @staticmethod
    def FastGelu(x: Tensor, bias: Tensor) -> Tensor:
        return F.gelu(x + bias, approximate="tanh")

    @staticmethod
    def Softmax(x: Tensor, axis: int) -> Tensor:
        return x.softmax(axis)

    @staticmethod
    def ReduceSum(x: Tensor, axes: Tensor, keepdims: int, **_: int) -> Tensor:
        return x.sum(_whole(axes), bool(keepdims))

    @staticmethod
    def ReduceMean(x: Tensor, axes: Tensor, keepdims: int, **_: int) -> Tensor:
        return x.mean(_whole(axes), bool(keepdims))

    @staticmethod
    def Clip(x: Tensor, low: Value = None, high: Value = None) -> Tensor:
        return x.clamp(
            None if low is None else float(low), None if high is None else float(high)
        )

    @staticmethod
    def CumSum(x: Tensor, axis: Tensor, **_: int) -> Tensor:
        return x.cumsum(int(axis))

    @staticmethod
    def Range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
        return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)

    @staticmethod
    def FusedMatMul(x: Tensor, y: Tensor, **settings: Any) -> Tensor:
        x = x.mT if settings["transA"] else x
        return x @ y * settings["alpha"]

    @staticmethod
    def Resize(x: Tensor, _: Value, scales: Tensor, **settings: Any) -> Tensor:
        by = scales.tolist()[-1]
        if settings["mode"] == "nearest":
            return F.interpolate(x, scale_factor=by, mode="nearest")
        return F.interpolate(x, scale_factor=by, mode="linear", align_corners=False)

    @staticmethod
    def Pad(x: Tensor, pads: Tensor, *_: Value, mode: str) -> Tensor:
        sizes = _whole(pads)
        half = len(sizes) // 2
        flat = [n for i in reversed(range(half)) for n in (sizes[i], sizes[i + half])]
        while len(flat) > 2 and flat[-2:] == [0, 0]:
            flat = flat[:-2]
        if x.dim() == 2 and mode == "reflect":
            return F.pad(x[None], flat, mode)[0]
        return F.pad(x, flat, mode)

    @staticmethod
    def STFT(x: Tensor, step: Tensor, window: Tensor, size: Tensor, **_: int) -> Tensor:
        found = torch.stft(
            x.reshape(len(x), -1),
            int(size),
            int(step),
            window=window,
            center=False,
            return_complex=True,
        )
        return torch.view_as_real(found.mT)

    @staticmethod
    def NonZero(x: Tensor) -> Tensor:
        return x.nonzero().mT

    @staticmethod
    def ScatterND(x: Tensor, index: Tensor, update: Tensor, **_: Any) -> Tensor:
        x = x.clone()
        x[_on(index, x).long().unbind(-1)] = _on(update, x)
        return x
