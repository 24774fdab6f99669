"""Everything that may go wrong while a model is downloaded, each with its way out."""

from __future__ import annotations

from inference.errors import PersonaplexError

AGAIN = "Run the same command again: what was received is kept."
LOGIN = (
    "Make a token at https://huggingface.co/settings/tokens (Read) and run "
    "`hf auth login`, or set HF_TOKEN."
)


class DownloadError(PersonaplexError):
    code = "download"
    text = "The model could not be downloaded."


class NoToken(DownloadError):
    code = "hub_no_token"
    text = f"This model is only for signed-in users of the hub. {LOGIN}"


class TokenRefused(DownloadError):
    code = "hub_token_refused"
    text = f"The hub refused the token: it is wrong, expired or revoked. {LOGIN}"


class TokenTooNarrow(DownloadError):
    code = "hub_token_too_narrow"
    text = (
        "The hub refuses this token the file. A fine-grained token needs the "
        'permission "Read access to contents of all public gated repos you can access".'
    )


class LicenceNotAccepted(DownloadError):
    code = "hub_licence"

    def __init__(self, detail: str, page: str) -> None:
        text = (
            f"The model's licence was not accepted yet. Open {page} in a browser, sign "
            "in with the account of your token, accept the licence, and run the same "
            "command again."
        )
        super().__init__(detail, text=text)


class UnknownRepository(DownloadError):
    code = "hub_repository"
    text = (
        "The hub knows no such repository, or it is private. Check --model; for a "
        "private one set HF_TOKEN to a token that may read it."
    )


class UnknownRevision(DownloadError):
    code = "hub_revision"
    text = "The repository has no such revision. Check --revision, or leave it out."


class FileMissing(DownloadError):
    code = "hub_file_missing"
    text = (
        "The repository lacks a file that PersonaPlex and Moshi in PyTorch have. "
        "Choose another --model or --revision."
    )


class NoNetwork(DownloadError):
    code = "hub_no_network"
    text = (
        "The hub can't be reached. Check the network, the proxy (HTTPS_PROXY) and "
        "HF_ENDPOINT, if set, and run the same command again."
    )
    retryable = True


class Offline(DownloadError):
    code = "hub_offline"
    text = "HF_HUB_OFFLINE is set, so that nothing may be downloaded. Unset it."


class HubFailed(DownloadError):
    code = "hub_failed"
    text = f"The hub answers with an error. Wait a few minutes. {AGAIN}"
    retryable = True


class BrokenDownload(DownloadError):
    code = "hub_broken_download"
    text = f"The connection broke again and again. {AGAIN}"
    retryable = True


class WrongChecksum(DownloadError):
    code = "hub_checksum"
    text = (
        "What came is not what the hub says it should be, so it was thrown away. "
        "Run the same command again; if it stays so, something on the way to the hub "
        "changes the files (a proxy or HF_ENDPOINT)."
    )


class NoChecksum(DownloadError):
    code = "hub_no_checksum"
    text = (
        "The server does not say how long the file is or what its checksum is, as the "
        "Hugging Face hub does. Unset HF_ENDPOINT, or choose another mirror."
    )


class DiskFull(DownloadError):
    code = "disk_full"
    text = (
        "Free some space, or choose another disk with --to DIR or MODELS_DIR, and run "
        "the same command again: what was received is kept."
    )


class CantWrite(DownloadError):
    code = "cant_write"
    text = "Choose a folder that you may write to with --to DIR or MODELS_DIR."


class AlreadyRunning(DownloadError):
    code = "download_running"
    text = "Another download into this folder is running. Wait for it."


class HostileArchive(DownloadError):
    code = "hostile_archive"
    text = (
        "The archive of voices is not what it should be, and nothing of it was used. "
        "Download from https://huggingface.co directly."
    )


class UnknownLayout(DownloadError):
    code = "unknown_layout"
    text = "These files are of a model that this version can't run."
