"""Several servers as one: a front places streams on workers, watches them, and moves streams when one is gone."""
