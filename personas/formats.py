"""Which sound files are taken, and the names of those that aren't.

Signatures, codecs and their names for people. A file is recognised by its first bytes,
never by its name, and no decoder is opened for that.
"""

from __future__ import annotations

from typing import BinaryIO

from personas.errors import NotAudio, UnknownFormat

HEAD_BYTES = 16
CODECS = frozenset(
    (
        *("flac", "mp3", "mp3float", "mp2", "mp2float", "vorbis", "opus", "speex"),
        *("aac", "alac", "ac3", "eac3", "amrnb", "amrwb", "gsm", "gsm_ms"),
        *("libopencore_amrnb", "libopencore_amrwb", "g722"),
        *("adpcm_ima_wav", "adpcm_ima_qt", "adpcm_ms", "adpcm_yamaha", "adpcm_g726"),
    )
)
# QuickTime films of before 2000 begin with any of these.
MP4_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# FFmpeg's name of the container, by the first bytes.
TAKEN = {
    b"fLaC": "flac",
    b"OggS": "ogg",
    b"\x1a\x45\xdf\xa3": "matroska",
    b"caff": "caf",
    b"#!AMR": "amr",
    b".snd": "au",
}
# What people send as well, and what they call it.
NAMED = {
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "a Windows Media file (WMA, WMV)",
    b"\x0b\x77": "AC-3 sound (Dolby Digital)",
    b"wvpk": "a WavPack file",
    b"MAC ": "a Monkey’s Audio file (APE)",
    b"TTA1": "a True Audio file (TTA)",
    b"MP+": "a Musepack file",
    b"MPCK": "a Musepack file",
    b"DSD ": "a DSD file (DSF)",
    b"FRM8": "a DSD file (DSDIFF)",
    b".RMF": "a RealMedia file",
    b".ra\xfd": "a RealAudio file",
    b"Creative Voice": "a Creative Voice file (VOC)",
    b"riff\x2e\x91\xcf\x11": "a Wave64 file (W64)",
    b"FLV\x01": "a Flash film (FLV)",
    b"\x00\x00\x01\xba": "an MPEG film",
    b"\x00\x00\x01\xb3": "an MPEG film",
    b"MThd": "a MIDI file: notes, not sound",
    b"#EXTM3U": "a playlist, not the sound itself",
    b"[playlist]": "a playlist, not the sound itself",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive or an Office document",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x89PNG": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"GIF8": "a picture (GIF)",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
}
NAMED_RIFF = {
    b"AVI ": "a film in AVI",
    b"WEBP": "a picture (WebP)",
    b"RMID": "a MIDI file: notes, not sound",
}
MPEG_LAYER_3, MPEG_LAYER_2, NO_LAYER = 1, 2, 0  # as they are coded in a header


def container_format(file: BinaryIO) -> str:
    """FFmpeg's name of the container; NotAudio if it isn't taken. Leaves the file at
    its beginning."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if head[:3] == b"ID3" and len(head) >= 10:
        file.seek(10 + _id3_size(head[6:10]))
        head = file.read(HEAD_BYTES)
        found = _format_of(head) if head[:4] == b"fLaC" else _mpeg_format(head) or "mp3"
    else:
        found = _format_of(head)
    file.seek(0)
    return found


def _format_of(head: bytes) -> str:
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] in MP4_ATOMS:
        return "mp4"
    if found := _beginning(head, TAKEN) or _mpeg_format(head):
        return found
    name = _beginning(head, NAMED)
    if head[:4] == b"RIFF":
        name = NAMED_RIFF.get(head[8:12], "")
    if name:
        raise UnknownFormat(name, f"first bytes {head[:8].hex()}")
    raise NotAudio(f"unknown first bytes {head[:8].hex()}")


def _beginning(head: bytes, signatures: dict[bytes, str]) -> str:
    return next((of for start, of in signatures.items() if head.startswith(start)), "")


def _id3_size(four: bytes) -> int:
    return sum(
        (byte & 0x7F) << shift
        for byte, shift in zip(four, (21, 14, 7, 0), strict=False)
    )


def _mpeg_format(head: bytes) -> str:
    """Of a stream without a container: MPEG audio, or AAC in ADTS frames."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return ""
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == NO_LAYER and head[1] & 0xF0 == 0xF0:
        return "aac" if head[2] >> 2 & 15 < 13 else ""  # the others have no rate
    good = version != 1 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3
    return "mp3" if good and layer in (MPEG_LAYER_3, MPEG_LAYER_2) else ""
