"""Who is on the pictures of a pair list that does not say so: what its mated pairs imply."""

from __future__ import annotations

from collections.abc import Sequence

Link = tuple[str, str, bool]  # two pictures and whether they are mated


def chains(links: Sequence[Link]) -> dict[str, str]:
    """A subject for every picture: those that a chain of mated pairs connects are of one.

    It is a lower bound on what is true: two pictures of one person that no mated pair connects get two subjects.

    Returns:
        Picture to the first picture of its chain, in the order of the list.
    """
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        root = node
        while parent[root] != root:
            root = parent[root]
        while parent[node] != root:
            parent[node], node = root, parent[node]
        return root

    order: dict[str, int] = {}
    for first, second, mated in links:
        for picture in (first, second):
            parent.setdefault(picture, picture)
            order.setdefault(picture, len(order))
        if mated:
            one, two = sorted((find(first), find(second)), key=order.__getitem__)
            parent[two] = one
    return {picture: find(picture) for picture in parent}


def contradiction(links: Sequence[Link], subjects: dict[str, str]) -> int | None:
    """The index of the first pair whose label the subjects contradict, or None."""
    return next(
        (i for i, (first, second, mated) in enumerate(links) if (subjects[first] == subjects[second]) != mated), None
    )
