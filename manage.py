#!/usr/bin/env python3
"""Django's command line for this project."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personaplex_site.settings")
    from django.core.management import execute_from_command_line

    from personaplex_site.exit_if_wrong import read_settings

    read_settings()
    execute_from_command_line(sys.argv)
