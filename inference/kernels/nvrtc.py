"""CUDA C++ compiled when it is first needed, and launched early (see ``launch``).

Keeps the compiled functions, one per program and device. Needs the package
cuda-bindings, which comes with torch's CUDA builds; compiling alone needs no GPU and no
driver.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from cuda.bindings import driver, nvrtc

from inference.cards import CardSpec, device_card, pretended, this_card
from inference.kernels.shapes import Definitions, Program

SOURCES = Path(__file__).parent / "cuda"
EARLY = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
SHARED = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
OWN_SHARED = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES


class KernelRefused(RuntimeError):
    """A kernel that this card, its driver or its compiler does not take: the fast
    engine can't run here, but nothing is broken."""


class CompileError(KernelRefused):
    """With the compiler's message."""


def architecture(card: CardSpec) -> str:
    """What to compile for: the card itself; for a pretended one the oldest generation
    that can do all that is used of it, which the driver translates for the device."""
    if pretended():
        return "compute_90" if card.early_launch else "compute_80"
    major, minor = card.capability
    return f"sm_{major}{minor}"


# What a compiler's own cache gives back comes without a report.
REPORT = ("--ptxas-options=-v", "--no-cache")


def compiled(
    source: str, definitions: Definitions, target: str, options: Sequence[str] = ()
) -> tuple[bytes, str]:
    """``source``, a file of ``SOURCES``, to machine code for sm_…, or to PTX for
    compute_…; and the compiler's log, with ``REPORT`` what it takes of the card."""
    options = [f"--gpu-architecture={target}", "--std=c++17", *options]
    options += [f"-D{name}={value}" for name, value in definitions]
    text = (SOURCES / source).read_bytes()
    headers = sorted(SOURCES.glob("*.cuh"))
    names = [header.name.encode() for header in headers]
    texts = [header.read_bytes() for header in headers]
    program = _compiled(
        nvrtc.nvrtcCreateProgram(text, source.encode(), len(names), texts, names)
    )
    encoded = [option.encode() for option in options]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)
    log = _output(program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog)
    messages = log.decode(errors="replace").strip("\0 \n")
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise CompileError(f"{source} for {target}: {messages or status!r}")
    if target.startswith("sm_"):
        code = _output(program, nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
    else:
        code = _output(program, nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
    _compiled(nvrtc.nvrtcDestroyProgram(program))
    return code, messages


def _output(program: Any, size: Callable[..., Any], read: Callable[..., Any]) -> bytes:
    """What NVRTC writes into memory of ours. Never into ``bytes``: an empty log is one
    byte long, and Python has a single object for each byte, which all of the process
    shares. Written over, every ``b" "`` of the server would be ``b"\\0"``."""
    buffer = bytearray(_compiled(size(program)))
    _compiled(read(program, buffer))
    return bytes(buffer)


class Kernel:
    def __init__(self, program: Program, device: int) -> None:
        card = this_card(device)
        target = architecture(card)
        code, _ = compiled(program.source, program.definitions, target)
        torch.cuda.current_stream()  # the device's context exists from here on
        where = f"{program.source} on {card.name}"
        self._module = _taken(driver.cuModuleLoadData(code), where)
        found = driver.cuModuleGetFunction(self._module, program.name.encode())
        self._function = _taken(found, where)
        own = _taken(driver.cuFuncGetAttribute(OWN_SHARED, self._function), where)
        asked = program.shared + own
        if asked > card.shared_block:
            raise KernelRefused(
                f"{program.source} {dict(program.definitions)} asks for {asked} bytes "
                f"of shared memory, {card.name} has {card.shared_block} for a block"
            )
        self._shared = program.shared
        set_shared = driver.cuFuncSetAttribute(self._function, SHARED, self._shared)
        _taken(set_shared, where)
        early = driver.CUlaunchAttribute()
        early.id = EARLY
        early.value.programmaticStreamSerializationAllowed = 1
        # Older GPUs launch a kernel when the one before it has ended.
        can = card.early_launch and device_card(device).early_launch
        self._attributes = [early] if can else []

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
        launched = driver.cuLaunchKernelEx(config, self._function, (values, types), 0)
        _launched(launched)


@functools.cache
def kernel(program: Program, device: int) -> Kernel:
    return Kernel(program, device)


def _compiled(result: tuple[Any, ...]) -> Any:
    status, *rest = result
    if int(status) != 0:
        raise CompileError(f"NVRTC: {status!r}")
    return rest[0] if rest else None


def _taken(result: tuple[Any, ...], where: str) -> Any:
    status, *rest = result
    if int(status) != 0:
        raise KernelRefused(f"{where}: {getattr(status, 'name', status)}")
    return rest[0] if rest else None


# From here on nothing has been computed yet: the launch itself was refused.
_NOT_STARTED = {
    driver.CUresult.CUDA_ERROR_INVALID_VALUE,
    driver.CUresult.CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
    driver.CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU,
    driver.CUresult.CUDA_ERROR_NOT_SUPPORTED,
}


def _launched(result: tuple[Any, ...]) -> None:
    status = result[0]
    if int(status) == 0:
        return
    if status in _NOT_STARTED:
        raise KernelRefused(f"a launch was refused: {status.name}")
    raise torch.AcceleratorError(f"CUDA: {status.name}")


POINTER, INT, FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
