"""Every error this package raises on purpose, as one tree.

::

    DeepPrivacyError
    ├── UsageError            the caller asked for something that cannot be (exit code 2)
    │   └── ConfigError       a configuration file or value is wrong
    ├── EnvironmentProblem    this machine lacks something; the message says how to get it (exit code 2)
    │   ├── DeviceError       the compute device asked for is not there
    │   └── WeightsError      a model file is missing, corrupt or cannot be fetched
    ├── SourceError           an input cannot be read; the message names it and the cause
    ├── SinkError             an output cannot be written; the message names it and the cause
    ├── Stopped               the caller asked to stop before the stream had ended
    ├── StageError            a detector, tracker, generator or blender failed or broke its contract
    └── TrainingError         data or state of a training run is unusable

Messages are one line, name the file or device concerned, and where there is a cure they end with it.
"""


class DeepPrivacyError(Exception):
    """Base of all errors that this package raises on purpose."""


class UsageError(DeepPrivacyError):
    """The caller asked for something that cannot be done."""


class ConfigError(UsageError):
    """A configuration file or value is wrong."""


class EnvironmentProblem(DeepPrivacyError):
    """This machine lacks something that the task needs."""


class DeviceError(EnvironmentProblem):
    """The compute device that was asked for is not available."""


class WeightsError(EnvironmentProblem):
    """A model file is missing, has the wrong checksum, or cannot be fetched."""


class SourceError(DeepPrivacyError):
    """An input cannot be opened, read or decoded."""


class SinkError(DeepPrivacyError):
    """An output cannot be opened, written or completed."""


class Stopped(DeepPrivacyError):
    """The caller asked to stop before the stream had ended: what was written so far is not complete."""


class StageError(DeepPrivacyError):
    """A pipeline stage failed or returned something that breaks its contract."""


class TrainingError(DeepPrivacyError):
    """The data or the saved state of a training run is unusable."""
