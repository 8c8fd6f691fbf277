"""Following faces through time, without seeing a pixel.

- :class:`OnlineTracker` answers at once: a face is covered from its first detection on, and for a while after its last.
- :class:`LookaheadTracker` answers some frames late and knows the future: a face is covered before its first detection
  too, gaps are interpolated, and smoothing has no lag.
"""

from deepprivacy_rt.tracking.lookahead import LookaheadTracker
from deepprivacy_rt.tracking.online import OnlineTracker
from deepprivacy_rt.tracking.settings import TrackerSettings

__all__ = ["LookaheadTracker", "OnlineTracker", "TrackerSettings"]
