"""DeepPrivacy RT: a real-time video face anonymizer that fails closed."""

__version__ = "0.1.0"
