"""The second seam: where states live; see :mod:`.base`."""
