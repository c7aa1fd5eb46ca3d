"""A generator of rows per API: ``build`` makes its part of the store, ``advance`` changes that part."""
