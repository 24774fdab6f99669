"""Dates and times of pages and the admin, in place of Django's for English.

Scripts get ISO 8601, and show it in the reader's language and time zone.
"""

DATE_FORMAT = "j F Y"
SHORT_DATE_FORMAT = "j M Y"
TIME_FORMAT = "H:i"
DATETIME_FORMAT = "j F Y, H:i"
SHORT_DATETIME_FORMAT = "j M Y, H:i"
