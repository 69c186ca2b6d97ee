"""What slots have measured of packs, in this run and in those before: kept and given, never judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hpo.search.messages import Asked, Measured, News


def _not_known(key: str) -> Measured | None:
    del key
    return None


def _not_kept(measured: Measured) -> None:
    del measured


class Speeds:
    """recall: what was measured under a key before this run; keep: remembers it for those that come after."""

    def __init__(
        self,
        recall: Callable[[str], Measured | None] = _not_known,
        keep: Callable[[Measured], None] = _not_kept,
    ) -> None:
        self._recall, self._keep = recall, keep
        self._known: dict[str, Measured] = {}

    def hear(self, news: Sequence[News]) -> tuple[Measured, ...]:
        """Take what was measured from the news; what is known of the keys that it asks for."""
        for item in news:
            if isinstance(item, Measured):
                self._known[item.key] = item
                self._keep(item)
        found = [self._find(item.key) for item in news if isinstance(item, Asked)]
        return tuple(measured for measured in found if measured is not None)

    def _find(self, key: str) -> Measured | None:
        if key not in self._known:
            found = self._recall(key)
            if found is None:
                return None
            self._known[key] = found
        return self._known[key]
