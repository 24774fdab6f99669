"""What can be wrong with a voice, in words that say what would be right.

Each error of a sample takes the figures of the file at hand.
"""

import math

from inference.errors import PersonaplexError


class VoiceError(PersonaplexError):
    """A voice sample that can't become a voice; the persona stays as it is."""

    code = "voice"


class NotAudio(VoiceError):
    code = "not_audio"
    text = (
        "This file is not a sound recording that can be read. "
        "Send a WAV, FLAC, MP3, M4A, AAC, Ogg, AIFF, CAF, AMR or WebM file."
    )


class Damaged(NotAudio):
    """Of a type that is taken, but without a sound in it."""

    code = "damaged"
    text = (
        "This file is damaged or empty: there is no sound in it. Save or record it "
        "again, and send that."
    )


class UnknownFormat(NotAudio):
    """Known by its name, but not taken. ``name``: as in "This is a MIDI file"."""

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(
            f"{name}: {detail}",
            text=f"This is {name}, which can’t be read here. Save the recording as "
            "WAV, FLAC, MP3, M4A or Ogg and send that.",
        )


class TooDemanding(VoiceError):
    code = "too_demanding"
    text = (
        "Reading this file takes far more memory or time than a recording does. "
        "Save it again as WAV or FLAC and send that."
    )


class NoSoundTrack(VoiceError):
    code = "no_sound_track"
    text = "This file has no sound track. Send a recording of one person speaking."


class TooLarge(VoiceError):
    code = "too_large"

    def __init__(self, size: int | None, limit: int) -> None:
        says = f"This file is {megabytes(size)}" if size else "This file is too large"
        super().__init__(
            text=f"{says}; a voice sample may have at most {megabytes(limit)}. "
            "Send a shorter piece, or save it as FLAC, MP3 or Ogg."
        )


class TooShort(VoiceError):
    code = "too_short"

    def __init__(self, seconds: float, least: int) -> None:
        super().__init__(
            text=f"This file is {tenths_below(seconds)} s long; "
            f"a voice sample needs at least {least} s. 8 to 12 s are best."
        )


class TooLittleSpeech(VoiceError):
    code = "too_little_speech"

    def __init__(self, seconds: float, speech: float, least: int) -> None:
        super().__init__(
            text=f"Only {tenths_below(speech)} s of these {seconds:.1f} s have a voice "
            "in them; "
            f"a voice sample needs at least {least} s. Speak without long pauses."
        )


class TooLong(VoiceError):
    code = "too_long"

    def __init__(self, seconds: float | None, limit: int) -> None:
        says = f"longer than {limit} s"
        if seconds is not None:
            says = f"{whole_or_tenths_above(seconds, limit)} s long"
        super().__init__(
            text=f"This file is {says}; a voice sample may have at most {limit} s. "
            "Cut out 8 to 12 s in which one person speaks."
        )


class Silent(VoiceError):
    code = "silent"

    def __init__(self, level_db: float) -> None:
        level = f"{level_db:.0f} dB" if level_db > -120 else "digital zero"
        super().__init__(
            text=f"This file is silent: its loudest parts are at {level}, and speech "
            "is usually above −40 dB. Check the microphone and record again."
        )


class NotPrepared(VoiceError):
    """Our own failure: the log has the cause, the person gets a way out."""

    code = "internal"
    text = (
        "Something went wrong on our side while preparing this voice. "
        "Your persona is unchanged. Please try again in a few minutes."
    )
    retryable = True


class Superseded(VoiceError):
    code = "superseded"
    text = "A newer voice sample was sent, so this one was put aside."


class PersonaGone(VoiceError):
    code = "persona_gone"
    text = "The persona was deleted while its voice was being prepared."


class VoiceNotReady(PersonaplexError):
    code = "voice_not_ready"
    text = (
        "The voice of this persona is being prepared for the model that is running "
        "now. Please try again in about half a minute."
    )
    retryable = True


class VoiceNotInModel(PersonaplexError):
    code = "voice_not_in_model"

    def __init__(self, name: str, detail: str) -> None:
        text = (
            f"The voice “{name}” came with another model, and the one that is running "
            "now has no voice of that name. Choose another voice for this persona."
        )
        super().__init__(detail, text=text)


class VoiceDeleted(PersonaplexError):
    code = "voice_deleted"
    text = (
        "The recording of this voice was deleted, so it can't be used any more. "
        "Choose another voice for this persona."
    )


def tenths_below(seconds: float) -> str:
    """Rounded down, so that what is refused for being below a limit looks so."""
    return f"{math.floor(seconds * 10) / 10:.1f}"


def whole_or_tenths_above(seconds: float, limit: int) -> str:
    """Whole seconds where they show that it is above the limit, else tenths, up."""
    if round(seconds) > limit:
        return f"{seconds:.0f}"
    return f"{math.ceil(seconds * 10) / 10:.1f}"


def megabytes(size: int) -> str:
    return f"{size / 2**20:.0f} MB" if size >= 2**20 else f"{size / 1024:.0f} kB"
