"""Says what the reports of each kind of work contain, so that no other code of the reports must know which kinds there are."""
