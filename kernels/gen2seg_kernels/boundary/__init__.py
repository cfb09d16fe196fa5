"""One-to-one matching of edge pixels with the pixels of a drawn boundary, at every threshold of the edge strength."""
