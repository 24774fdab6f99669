"""Which session uses which pages of KV memory, and whether it may take another.

A page is a number of slots of one session's ring. Counts only: must not depend on
tensors.

Every session is promised a number of pages when it begins, and none begins unless all
promises can be kept together. Beyond its promise a session gets a page as long as one
is left that is not promised to another.
"""

from __future__ import annotations


class Pages:
    def __init__(self, total: int, rows: int) -> None:
        self.total = total
        self._free = list(range(total - 1, -1, -1))  # the lowest is taken first
        self._held: list[list[int]] = [[] for _ in range(rows)]
        self._promised = [0] * rows

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def spare(self) -> int:
        """Free pages that are not promised to any session."""
        held = map(len, self._held)
        owed = (max(p - h, 0) for p, h in zip(self._promised, held, strict=True))
        return len(self._free) - sum(owed)

    def held(self, row: int) -> list[int]:
        return self._held[row]

    def promise(self, row: int, count: int) -> bool:
        """To a row that holds nothing. False: there is no room."""
        self._promised[row] = 0
        if count > self.spare:
            return False
        self._promised[row] = count
        return True

    def take(self, row: int) -> int | None:
        """One more, or None when it may have none."""
        if len(self._held[row]) >= self._promised[row] and self.spare < 1:
            return None
        page = self._free.pop()
        self._held[row].append(page)
        return page

    def release(self, row: int) -> None:
        self._promised[row] = 0
        self._free += reversed(self._held[row])
        self._held[row] = []
