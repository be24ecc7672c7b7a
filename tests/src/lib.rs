//! Tests over whole relays: see `tests/`.
