"""Where an uploaded file goes while it arrives: a temporary file of bounded size."""

from django.conf import settings
from django.core.files.uploadhandler import StopUpload, TemporaryFileUploadHandler


class BoundedUploadHandler(TemporaryFileUploadHandler):
    """Stops beyond VOICE_MAX_BYTES, whatever length was announced.

    The temporary file is deleted at once, and ``request.too_large`` tells the view
    why there is no file. The server refuses most such bodies before Django sees
    them (MAX_BODY_BYTES).
    """

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if start + len(raw_data) > settings.VOICE_MAX_BYTES:
            self.upload_interrupted()
            self.request.too_large = True  # type: ignore[union-attr]
            raise StopUpload(connection_reset=True)
        try:
            super().receive_data_chunk(raw_data, start)
        except OSError:  # a full disk: the part that went onto it is deleted, too
            self.upload_interrupted()
            raise
