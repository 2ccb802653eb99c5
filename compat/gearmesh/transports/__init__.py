"""The first seam: where messages wait. Each transport is a kombu transport; see :mod:`.base`."""
