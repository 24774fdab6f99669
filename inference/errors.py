"""The errors that cross a process or reach a person.

Every package imports this module, so it must not depend on Django, sockets or tensors.
"""


class PersonaplexError(Exception):
    """Something a user or operator has to know about.

    ``code`` is stable and machine-readable, ``text`` is what the user reads (it says
    what to do), ``retryable`` says whether the same request may succeed later. What
    is logged is the ordinary exception message, ``detail``.
    """

    code = "error"
    text = "Something went wrong. Please try again."
    retryable = False
    retry_after_s: float | None = None  # a guess, where one can be made

    def __init__(self, detail: str = "", *, text: str | None = None) -> None:
        super().__init__(detail or text or self.text)
        if text is not None:
            self.text = text

    def as_event(self) -> dict[str, object]:
        return {"code": self.code, "text": self.text, "retryable": self.retryable}


class ProtocolError(PersonaplexError):
    code = "protocol"
    text = "The other side sent something that this version does not understand."


class WorkerBusy(PersonaplexError):
    code = "worker_busy"
    text = "All places are taken right now. Please try again in a moment."
    retryable = True


class WorkerLost(PersonaplexError):
    code = "worker_lost"
    text = "The voice engine went away. Please start again."
    retryable = True


class TakenOver(PersonaplexError):
    code = "taken_over"
    text = "This conversation continues in another window or tab."


class NoSession(PersonaplexError):
    """The worker does not have the session that is to be resumed."""

    code = "no_session"
    text = "The voice engine no longer has this conversation."


class NoWorker(PersonaplexError):
    code = "no_worker"
    text = "No voice engine is running right now. Please try again in a minute."
    retryable = True


class WorkerStopping(PersonaplexError):
    code = "shutdown"
    text = "The voice engine is being restarted. Please start again in a minute."
    retryable = True


class ModelError(PersonaplexError):
    code = "model_error"
    text = "The voice engine failed on this conversation. Please start again."
    retryable = True


class VoicePromptError(PersonaplexError):
    code = "voice_prompt"
    text = "This voice does not fit the model that is running. Upload it again."


class RolePromptError(PersonaplexError):
    code = "role_prompt"
    text = "The role prompt is too long for this model. Please shorten it."


# The errors that a worker may send, by code. A list, not __subclasses__(): which class
# an error becomes must not depend on what else was imported.
WORKER_ERRORS: dict[str, type[PersonaplexError]] = {
    kind.code: kind
    for kind in (
        ProtocolError,
        WorkerBusy,
        WorkerLost,
        TakenOver,
        NoSession,
        NoWorker,
        WorkerStopping,
        ModelError,
        VoicePromptError,
        RolePromptError,
    )
}
