"""Portraits of people who do not exist, as reliefs that can be turned, lit and moved: docs/adr/0017-portraits.md."""
