"""A small generalist: a language-conditioned policy that sees pictures only, and how it is trained and tried."""
