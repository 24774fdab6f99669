"""The frame log: its stored format, its writer and its one reader."""
