"""CUDA C++ compiled when it is first needed, and launched early (see ``launch``).

Owns compiled functions, one per source, set of definitions and device. Needs the
package cuda-bindings, which comes with torch's CUDA builds.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from cuda.bindings import driver, nvrtc

SOURCES = Path(__file__).parent / "cuda"
EARLY = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
SHARED = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


class CompileError(RuntimeError):
    """What the compiler said."""


def compiled(
    source: str, definitions: tuple[tuple[str, int], ...], capability: tuple[int, int]
) -> bytes:
    """``source``, a file of ``SOURCES``, to machine code."""
    major, minor = capability
    options = [f"--gpu-architecture=sm_{major}{minor}", "--std=c++17"]
    options += [f"-D{name}={value}" for name, value in definitions]
    text = (SOURCES / source).read_bytes()
    headers = sorted(SOURCES.glob("*.cuh"))
    names = [header.name.encode() for header in headers]
    texts = [header.read_bytes() for header in headers]
    program = _check(
        nvrtc.nvrtcCreateProgram(text, source.encode(), len(names), texts, names)
    )
    encoded = [option.encode() for option in options]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        said = b" " * _check(nvrtc.nvrtcGetProgramLogSize(program))
        _check(nvrtc.nvrtcGetProgramLog(program, said))
        raise CompileError(said.decode(errors="replace"))
    code = b" " * _check(nvrtc.nvrtcGetCUBINSize(program))
    _check(nvrtc.nvrtcGetCUBIN(program, code))
    return code


class Kernel:
    def __init__(
        self,
        source: str,
        name: str,
        definitions: tuple[tuple[str, int], ...],
        shared: int,
    ) -> None:
        code = compiled(source, definitions, torch.cuda.get_device_capability())
        torch.cuda.current_stream()  # the device's context exists from here on
        self._module = _check(driver.cuModuleLoadData(code))
        self._function = _check(driver.cuModuleGetFunction(self._module, name.encode()))
        self._shared = shared
        _check(driver.cuFuncSetAttribute(self._function, SHARED, shared))
        early = driver.CUlaunchAttribute()
        early.id = EARLY
        early.value.programmaticStreamSerializationAllowed = 1
        # Older GPUs launch a kernel when the one before it has ended.
        self._attributes = (
            [early] if torch.cuda.get_device_capability() >= (9, 0) else []
        )

    def launch(
        self,
        grid: tuple[int, int],
        threads: int,
        values: tuple[float, ...],
        types: tuple[Any, ...],
    ) -> None:
        config = driver.CUlaunchConfig()
        config.gridDimX, config.gridDimY = grid
        config.gridDimZ = config.blockDimY = config.blockDimZ = 1
        config.blockDimX = threads
        config.sharedMemBytes = self._shared
        config.hStream = driver.CUstream(torch.cuda.current_stream().cuda_stream)
        config.attrs = self._attributes
        config.numAttrs = len(self._attributes)
        _check(driver.cuLaunchKernelEx(config, self._function, (values, types), 0))


@functools.cache
def kernel(
    source: str,
    name: str,
    definitions: tuple[tuple[str, int], ...],
    shared: int,
    device: int,
) -> Kernel:
    return Kernel(source, name, definitions, shared)


def _check(result: tuple[Any, ...]) -> Any:
    status, *rest = result
    if int(status) != 0:
        raise RuntimeError(f"CUDA: {status!r}")
    return rest[0] if rest else None


POINTER, INT, FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
