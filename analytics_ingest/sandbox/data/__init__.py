"""One generator per API: `build` makes its part of the store, `advance` moves that part on in time."""
