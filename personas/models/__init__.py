"""Personas with their versions, voices, uploads: rows, and how their state changes."""

from personas.models.persona import ChangedMeanwhile, Persona, PersonaVersion
from personas.models.upload import VoiceUpload
from personas.models.voice import PresetList, Voice

__all__ = [
    "ChangedMeanwhile",
    "Persona",
    "PersonaVersion",
    "PresetList",
    "Voice",
    "VoiceUpload",
]
