"""Sound files for tests: the recording in tests/data, and anything made of it."""

import io
from pathlib import Path

import av
import numpy as np

RECORDING = Path(__file__).parent / "data" / "librivox_female.flac"  # 12.4 s
# container, codec, sample rate of every format that a voice sample may have
FORMATS = {
    "wav": ("wav", "pcm_s16le", 44_100),
    "flac": ("flac", "flac", 48_000),
    "mp3": ("mp3", "libmp3lame", 44_100),
    "ogg": ("ogg", "libopus", 48_000),
    "m4a": ("mp4", "aac", 44_100),
    "webm": ("webm", "libopus", 48_000),
}
# And of those whose encoders add most, or whose containers say least about it.
MORE_FORMATS = {
    **FORMATS,
    "alac": ("mp4", "alac", 44_100),
    "aac at 8 kHz": ("mp4", "aac", 8_000),
    "aac in Matroska": ("matroska", "aac", 44_100),
    "mp3 at 8 kHz": ("mp3", "libmp3lame", 8_000),
    "mp3 in MP4": ("mp4", "libmp3lame", 44_100),
    "opus in MP4": ("mp4", "libopus", 48_000),
    "opus at 8 kHz": ("ogg", "libopus", 8_000),
    "flac in Ogg": ("ogg", "flac", 44_100),
    "raw AAC": ("adts", "aac", 44_100),
}
# All that can be made here of what is taken.
ALL_FORMATS = {
    **MORE_FORMATS,
    "Vorbis": ("ogg", "vorbis", 44_100),
    "AIFF": ("aiff", "pcm_s16be", 44_100),
    "CAF": ("caf", "pcm_s16le", 44_100),
    "AU": ("au", "pcm_s16be", 44_100),
    "MP2": ("mp2", "mp2", 44_100),
    "µ-law": ("wav", "pcm_mulaw", 8_000),
    "A-law": ("wav", "pcm_alaw", 8_000),
    "IMA ADPCM": ("wav", "adpcm_ima_wav", 22_050),
    "Microsoft ADPCM": ("wav", "adpcm_ms", 22_050),
    "floating point": ("wav", "pcm_f32le", 48_000),
    "AAC in QuickTime": ("mov", "aac", 44_100),
    "Vorbis in Matroska": ("matroska", "vorbis", 44_100),
}


def speech(seconds=12.4):
    """Float32 at 24 kHz, of the recording."""
    with av.open(str(RECORDING)) as container:
        resampler = av.AudioResampler("flt", "mono", 24_000)
        frames = [
            piece.to_ndarray()[0]
            for frame in container.decode(audio=0)
            for piece in resampler.resample(frame)
        ]
    return np.concatenate(frames)[: int(seconds * 24_000)]


def tone(seconds, level=0.1, rate=24_000, hertz=220):
    return level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def silence(seconds, rate=24_000):
    return np.zeros(int(seconds * rate))


def encode(pcm, kind="wav", source_rate=24_000, layout="mono"):
    """The bytes of a file of one of ALL_FORMATS; ``pcm``: [n], or [2, n]."""
    container_name, codec, rate = ALL_FORMATS[kind]
    if codec == "vorbis":
        layout = "stereo"  # all that FFmpeg's encoder can do
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_name) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.codec_context.options = {"strict": "experimental"}  # FFmpeg's Vorbis
        resampler = av.AudioResampler(stream.codec_context.format, layout, rate)
        channels = 2 if layout == "stereo" else 1
        samples = np.atleast_2d(np.asarray(pcm, np.float32))  # one for all, or each
        samples = np.tile(samples, (channels // len(samples), 1))
        frame = av.AudioFrame.from_ndarray(samples, "fltp", layout)
        frame.sample_rate = source_rate
        fifo = av.AudioFifo()
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            fifo.write(piece)
        size = stream.codec_context.frame_size or 4096
        for piece in fifo.read_many(size, partial=True):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return buffer.getvalue()
