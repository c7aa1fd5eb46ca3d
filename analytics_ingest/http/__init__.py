"""One request: how long its answer may take, and how much memory all answers may take."""
