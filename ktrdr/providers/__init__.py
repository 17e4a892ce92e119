"""Where bars can be loaded from; each provider's library is an optional extra."""
