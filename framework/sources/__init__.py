"""Sources outside the catalog: files below a URI, and operational databases."""
