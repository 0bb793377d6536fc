"""Settings, store, tracking: what every other package stands on."""
