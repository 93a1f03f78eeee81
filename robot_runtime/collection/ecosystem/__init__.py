"""Programs in environments of their own: the libraries that others read and write datasets with."""
