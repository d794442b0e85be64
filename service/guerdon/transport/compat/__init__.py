"""Other servers' protocols, one short file a family: each a translation to what the gateway is asked, and back."""
