"""Which of the things in a frame is the object that we follow, and which are others of its looks. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from perception.object_filter import Candidate, Shape, Track, begun, corrected, innovation, predicted

GATE = {4: 18.47, 6: 22.46}
"""A normalised innovation squared above this is an outlier: 99.9 % of chi-square, by degrees of freedom."""
_MOVED_SHARE = 0.5
"""Probability that an object which is not where it was believed still moves."""
REMEMBERED_S = 10.0
"""Another object of the same looks that was not seen for so long is forgotten."""
_MOST_OTHERS = 8


@dataclass(frozen=True)
class Sighting:
    """All that one frame shows which may be the object. stamp: robot time of the frame."""

    stamp: float
    candidates: tuple[Candidate, ...]

    def order(self) -> tuple[float, ...]:
        """Sorts sightings by stamp, those of one stamp by their content, so that the order of arrival is forgotten."""
        places = (np.append(c.pose_base_object.position, c.pose_base_object.quaternion) for c in self.candidates)
        return (self.stamp, *(float(number) for place in places for number in place))


@dataclass(frozen=True)
class Belief:
    """The object, and others of its looks. outlier: a sight of it where it was not expected, not yet confirmed."""

    ours: Track
    others: tuple[Track, ...] = ()
    outlier: tuple[float, Candidate] | None = None


def stepped(shape: Shape, apart_m: float, belief: Belief | None, sighting: Sighting) -> Belief | None:
    """The belief after one more frame, not older than the last. apart_m: no two objects' centres are nearer than this.

    Every candidate goes to the track that explains it best, over all. One far from where the object is expected is
    believed once a second frame confirms it. The surest candidate of the first frame is the object.
    """
    stamp = sighting.stamp
    candidates = _without_doubles(sighting.candidates, apart_m)
    if not candidates:
        return belief
    if belief is None:
        first, *rest = [begun(shape, stamp, one) for one in candidates]
        return Belief(first, tuple(rest))
    tracks = [predicted(shape, track, stamp) for track in (belief.ours, *belief.others)]
    pairs = _assigned(shape, tracks, candidates)
    free = [one for k, one in enumerate(candidates) if k not in pairs.values()]
    others = [
        corrected(shape, tracks[k], candidates[pairs[k]]) if k in pairs else track
        for k, track in enumerate(belief.others, start=1)
    ]
    others = [track for track in others if stamp - track.stamp < REMEMBERED_S]
    if 0 not in pairs:
        return _missed(shape, replace(belief, others=tuple(others)), stamp, tracks[0], free)
    ours = corrected(shape, tracks[0], candidates[pairs[0]])
    others += [begun(shape, stamp, one) for one in free]
    return Belief(ours, tuple(others[:_MOST_OTHERS]))


def _without_doubles(candidates: tuple[Candidate, ...], apart_m: float) -> list[Candidate]:
    """The surest first, without further detections of what a surer one has already found."""
    kept: list[Candidate] = []
    for one in sorted(candidates, key=lambda c: (-c.confidence, *c.pose_base_object.position)):
        where = one.pose_base_object.position
        if all(np.linalg.norm(where - other.pose_base_object.position) >= apart_m for other in kept):
            kept.append(one)
    return kept


def _assigned(shape: Shape, tracks: list[Track], candidates: list[Candidate]) -> dict[int, int]:
    """Candidate of each track that has one, so that all together is likeliest."""
    gate = GATE[shape.dimensions]
    costs = np.full((len(tracks), len(candidates) + len(tracks)), 1e9)
    for row, track in enumerate(tracks):
        for column, one in enumerate(candidates):
            nis, volume = innovation(shape, track, one)
            if nis <= gate:
                costs[row, column] = nis + volume
        costs[row, len(candidates) + row] = gate + innovation(shape, track, candidates[0])[1]
    rows, columns = linear_sum_assignment(costs)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if column < len(candidates)}


def _missed(shape: Shape, belief: Belief, stamp: float, expected: Track, free: list[Candidate]) -> Belief:
    """Nothing was seen where the object is expected; what is nobody else's may be it, moved."""
    if not free:
        return belief
    if belief.outlier is not None:
        since, before = belief.outlier
        moved = predicted(shape, begun(shape, since, before, _MOVED_SHARE), stamp)
        nis, best = min(((innovation(shape, moved, one)[0], k) for k, one in enumerate(free)))
        if nis <= GATE[shape.dimensions]:
            ours = replace(corrected(shape, _turned_alike(shape, moved, expected), free[best]), nis=None)
            return Belief(ours, belief.others)
    nearest = min(free, key=lambda one: innovation(shape, expected, one)[0])
    return replace(belief, outlier=(stamp, nearest))


def _turned_alike(shape: Shape, track: Track, like: Track) -> Track:
    """`track` in that of its equal orientations which is nearest to `like`, so that the heading does not jump."""
    pose = like.mean(shape)
    return replace(
        track,
        rest=shape.moved(pose, shape.difference(track.rest, pose)),
        moving=shape.moved(pose, shape.difference(track.moving, pose)),
    )
