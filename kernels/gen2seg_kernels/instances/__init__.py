"""Leaves of a colour image and the tree in which they merge: where every instance, part and group comes from."""
